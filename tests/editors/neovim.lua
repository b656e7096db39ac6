--- Does in Neovim what tests/test_editors.py says: a step a line of JSON on stdin, an answer a line on stdout.

local client = require('treadle.client')
client.command = vim.json.decode(vim.env.TREADLE_COMMAND)

local function say(answer)
  io.stdout:write(vim.json.encode(answer), '\n')
  io.stdout:flush()
end

vim.notify = function(message) say({ message = message }) end

local function text() return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), '\n') end

local steps = {}

local function choose(command)
  return function(label)
    vim.ui.select = function(items, options, choose) -- what a plugin for choosing does
      for _, item in ipairs(items) do
        if options.format_item(item) == label then
          choose(item)
        end
      end
    end
    vim.cmd(command)
  end
end

steps.pick, steps.agent, steps.approve = choose('TreadleThreads'), choose('TreadleAgent'), choose('TreadleApprove')

function steps.name_agent(name) vim.cmd('TreadleAgent ' .. name) end

steps.undo = choose('TreadleUndo')

function steps.diff() vim.cmd('TreadleDiff') end

function steps.new(title) vim.cmd('TreadleNew ' .. title) end

function steps.send(prompt) vim.cmd('TreadleSend ' .. prompt) end

function steps.steer(prompt) vim.cmd('TreadleSteer ' .. prompt) end

function steps.interrupt() vim.cmd('TreadleInterrupt') end

function steps.resume() vim.cmd('TreadleResume') end

function steps.quit() vim.cmd('quitall!') end

steps['until'] = function(wanted)
  vim.wait(30000, function() return text():find(wanted, 1, true) end, 10)
  say({ text = text() })
end

function steps.request(request)
  client.request(request.method, request.params, function(err, result)
    say({ error = err and err.message or nil, result = result })
  end)
  say({ sent = true })
end

function steps.stop() say({ status = client.stop() }) end

--- Attaches Neovim's own client for language servers.
function steps.attach()
  local ready, ended
  local id = vim.lsp.start_client({
    name = 'treadle',
    cmd = client.command,
    on_init = function() ready = true end,
    on_exit = function(status) ended = status end,
  })
  vim.wait(30000, function() return ready end, 10)
  local attached = vim.lsp.buf_attach_client(0, id)
  local lsp = vim.lsp.get_client_by_id(id)
  vim.api.nvim_buf_set_lines(0, 0, -1, false, { 'an edit, which a language server would be told of' })
  local answer = lsp.request_sync('thread/list', { limit = 5 }, 30000, 0)
  local refused = lsp.request_sync('thread/list', { limit = 5000 }, 30000, 0)
  lsp.stop()
  vim.wait(30000, function() return ended ~= nil end, 10)
  say({ attached = { attached = attached, result = answer.result, refused = refused.err.data.kind, status = ended } })
end

--- Lets Neovim's own client show the dialog of an approval, and chooses in it.
function steps.answer(label)
  local asked, resolved
  vim.ui.select = function(items, options, choose)
    for _, item in ipairs(items) do
      local shown = options.format_item and options.format_item(item) or (type(item) == 'table' and item.title) or item
      if shown == label then
        asked = options.prompt
        choose(item)
        return
      end
    end
    choose(nil)
  end
  vim.fn.inputlist = function(lines) -- what Neovim before 0.11 asks with
    asked = lines[1]
    for i = 3, #lines do
      if lines[i]:find(label, 1, true) then
        return i - 2
      end
    end
    return 0
  end
  local ready, ended
  local id = vim.lsp.start_client({
    name = 'treadle',
    cmd = client.command,
    init_options = { approvals = 'all' },
    on_init = function() ready = true end,
    on_exit = function(status) ended = status end,
  })
  vim.wait(30000, function() return ready end, 10)
  local lsp = vim.lsp.get_client_by_id(id)
  vim.lsp.buf_attach_client(0, id)
  local function dispatch(command) return lsp.request_sync('command/dispatch', command, 30000, 0) end
  dispatch({ type = 'QueuePrompt', threadId = 't', text = 'script=ask' })
  vim.wait(30000, function()
    local approvals = lsp.request_sync('thread/read', { threadId = 't' }, 30000, 0).result.approvals
    resolved = #approvals > 0 and approvals[#approvals].outcome
    return resolved and resolved ~= vim.NIL
  end, 10)
  lsp.stop()
  vim.wait(30000, function() return ended ~= nil end, 10)
  say({ approved = { prompt = asked, outcome = resolved } })
end

local input, rest = vim.loop.new_pipe(false), ''
input:open(0)
input:read_start(vim.schedule_wrap(function(_, data)
  rest = rest .. (data or '')
  for line in rest:gmatch('(.-)\n') do
    local step = vim.json.decode(line)
    steps[step[1]](step[2])
  end
  rest = rest:match('[^\n]*$')
end))
say({ pid = vim.fn.getpid() })
