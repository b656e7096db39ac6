--- treadle in Neovim: choose a thread and an agent, send prompts, follow the work live. A starting point for your plugin.

local client = require('treadle.client')
local M = {}

local index -- the view of all projects and threads
local followed = {} -- the views of threads, by id

--- Lets the user choose a thread, newest first, and opens it.
function M.pick()
  local function choose()
    local threads = vim.tbl_filter(function(entity) return entity.kind == 'thread' end, index.entities)
    table.sort(threads, function(a, b) return a.value.version > b.value.version end)
    local function name(thread) return ('%s [%s]'):format(thread.value.title, thread.value.status) end
    vim.ui.select(threads, { prompt = 'Thread:', format_item = name }, function(thread)
      return thread and M.open(thread.value.id)
    end)
  end
  if index and not index.ended then
    return choose()
  end
  client.follow('index', nil, function(view)
    local is_first = index ~= view
    index = view
    return is_first and choose() or nil
  end)
end

--- How a turn ended and why, on one line.
local function ending(turn)
  local by, reason = turn.by and ' by ' .. turn.by or '', turn.stopReason or turn.reason or turn.error
  reason = reason and (' (%s%s)'):format(turn.errorKind and turn.errorKind .. ': ' or '', reason) or ''
  return turn.status .. by .. reason .. (turn.confirmed == false and '; the agent did not confirm' or '')
end

--- The content blocks of a message that are not text, such as images, as lines.
local function attached(message)
  local lines = message.contentBytes and { ('[%d bytes of content]'):format(message.contentBytes) } or {}
  for _, block in ipairs(message.content or {}) do
    local name, uri = block.name or block.mimeType or block.type, block.uri and ', ' .. block.uri or ''
    vim.list_extend(lines, block.type ~= 'text' and { ('[%s%s]'):format(name, uri) } or {})
  end
  return lines
end

--- Formats a thread as lines of text.
local function render(view)
  local thread = view.found['thread' .. view.thread_id]
  local lines, queued = {}, {}
  local function add(text, ...) vim.list_extend(lines, vim.split(text:format(...), '\n', { plain = true })) end
  local agent = thread and thread.value.agent and (' (%s)'):format(thread.value.agent.name) or ''
  add('%s', thread and ('# %s%s [%s]'):format(thread.value.title, agent, thread.value.status) or '(deleted)')
  for _, turn in ipairs(view.entities) do
    for _, entity in ipairs(turn.kind == 'turn' and view.entities or {}) do
      local value = entity.value
      if value.turnId == turn.value.id and entity.kind == 'message' then
        add('%s> %s%s', value.role, value.text, value.status == 'streaming' and '▌' or '')
        vim.list_extend(lines, attached(value))
      elseif value.turnId == turn.value.id then
        add('* %s [%s]', value.title or value.message, value.outcome or value.status or value.gitRef)
      end
    end
    if turn.kind == 'turn' then
      add('-- %s', ending(turn.value))
    elseif turn.kind == 'prompt' then
      table.insert(queued, turn.value)
    end
  end
  table.sort(queued, function(a, b) return a.position < b.position end)
  for _, prompt in ipairs(queued) do
    add('%s> %s', prompt.when == 'steer' and 'steer' or 'queued', prompt.text)
  end
  if thread and thread.value.queuePaused then
    add('|| paused: %s', thread.value.queuePaused)
  end
  return vim.list_extend(lines, view.ended and { '!! ' .. view.ended } or {})
end

--- Shows a thread in a buffer and updates it live.
function M.open(thread_id)
  local buffer = vim.fn.bufadd('treadle://' .. thread_id)
  vim.bo[buffer].swapfile = false -- another Neovim may show the same thread
  vim.fn.bufload(buffer)
  vim.bo[buffer].buftype, vim.bo[buffer].buflisted = 'nofile', true
  vim.b[buffer].treadle_thread = thread_id
  vim.api.nvim_set_current_buf(buffer)
  if followed[thread_id] and not followed[thread_id].ended then
    return
  end
  client.follow('thread', thread_id, function(view)
    followed[thread_id] = vim.api.nvim_buf_is_loaded(buffer) and view or nil
    if not followed[thread_id] then
      return false -- the buffer was closed
    end
    local last = vim.api.nvim_buf_line_count(buffer)
    local at_end = vim.tbl_filter(function(window)
      return vim.api.nvim_win_get_cursor(window)[1] == last
    end, vim.fn.win_findbuf(buffer))
    vim.bo[buffer].modifiable = true
    vim.api.nvim_buf_set_lines(buffer, 0, -1, false, render(view))
    vim.bo[buffer].modifiable, vim.bo[buffer].modified = false, false
    for _, window in ipairs(at_end) do -- windows at the end keep following
      vim.api.nvim_win_set_cursor(window, { vim.api.nvim_buf_line_count(buffer), 0 })
    end
  end)
end

local function dispatch(command, callback)
  client.request('command/dispatch', command, callback or client.report)
end

--- Creates a thread in the project of the current folder, and opens it.
function M.new(title)
  client.request('project/open', { path = vim.fn.getcwd() }, function(err, opened)
    if err then
      return client.report(err)
    end
    dispatch({ type = 'CreateThread', projectId = opened.project.id, title = title }, function(refused, created)
      return refused and client.report(refused) or M.open(created.events[1].event.threadId)
    end)
  end)
end

local function choose(items, prompt, callback)
  vim.ui.select(items, { prompt = prompt, format_item = function(item) return item.name end }, function(item)
    return item and callback(item)
  end)
end

--- Lets the user choose the agent of this buffer's thread.
function M.agent(name)
  local thread_id = vim.b.treadle_thread
  if name ~= '' then
    return dispatch({ type = 'AssignAgent', threadId = thread_id, agent = name })
  end
  client.request('agent/list', nil, function(err, listed)
    return err and client.report(err) or choose(listed.agents, 'Agent:', function(agent)
      dispatch({ type = 'AssignAgent', threadId = thread_id, agent = agent.name })
    end)
  end)
end

--- Queues a prompt in the thread of this buffer. It is sent once the turn before has ended.
function M.send(text)
  dispatch({ type = 'QueuePrompt', threadId = vim.b.treadle_thread, text = text })
end

--- Sends a prompt into the running turn.
function M.steer(text)
  dispatch({ type = 'QueuePrompt', threadId = vim.b.treadle_thread, text = text, when = 'steer' })
end

--- Answers the oldest question of the agent.
function M.approve()
  for _, entity in ipairs(followed[vim.b.treadle_thread].entities) do
    local approval = entity.value
    if entity.kind == 'approval' and approval.status == 'pending' then
      return choose(approval.options, approval.title .. ':', function(option)
        dispatch({ type = 'ResolveApproval', threadId = approval.threadId, id = approval.id, outcome = option.id })
      end)
    end
  end
end

--- The checkpoints before and after the last turn that has one before it. While it runs, there is none after it.
local function checkpoints()
  local before, after = nil, {}
  for _, entity in ipairs(followed[vim.b.treadle_thread].entities) do
    local one = entity.value
    if entity.kind == 'checkpoint' and one.phase == 'before' then
      before = one
    elseif entity.kind == 'checkpoint' and one.phase == 'after' then
      after[one.turnId] = one
    end
  end
  if not before then
    client.report({ message = 'no turn has a checkpoint' })
  end
  return before, before and after[before.turnId]
end

--- Shows in a buffer what the last turn changed in the files.
function M.diff()
  local thread_id, before, after = vim.b.treadle_thread, checkpoints()
  local lines = {}
  local function show(cursor)
    local asked = { threadId = thread_id, from = before.id, to = after and after.id, patches = true, cursor = cursor }
    client.request('checkpoint/diff', asked, function(err, page)
      if err then
        return client.report(err)
      end
      for _, file in ipairs(page.files) do
        vim.list_extend(lines, vim.split(file.patch:gsub('\n$', ''), '\n', { plain = true }))
        vim.list_extend(lines, file.cut and { '(cut)' } or {})
      end
      if page.nextCursor then
        return show(page.nextCursor)
      end
      vim.cmd('new')
      vim.api.nvim_buf_set_lines(0, 0, -1, false, #lines > 0 and lines or { '(nothing was changed)' })
      vim.bo.buftype, vim.bo.bufhidden, vim.bo.filetype, vim.bo.modifiable = 'nofile', 'wipe', 'diff', false
      vim.b.treadle_thread = thread_id
    end)
  end
  return before and show()
end

--- Puts the files back to what they were before the last turn, or to a checkpoint, after asking.
function M.undo(checkpoint)
  local thread_id = vim.b.treadle_thread
  local before = checkpoint ~= '' and { id = checkpoint } or checkpoints()
  local function restore(dry_run, callback)
    local asked = { threadId = thread_id, id = before.id, dryRun = dry_run }
    client.request('checkpoint/restore', asked, function(err, done)
      return err and client.report(err) or callback(done)
    end)
  end
  return before and restore(true, function(plan)
    local question = ('Write [%s], remove [%s]?'):format(table.concat(plan.written, ', '), table.concat(plan.removed, ', '))
    choose({ { name = 'Put back' }, { name = 'Leave' } }, question, function(answer)
      return answer.name == 'Put back' and restore(false, function(done)
        vim.cmd('checktime') -- files that are open
        vim.notify(('treadle: :TreadleUndo %s undoes this'):format(done.before))
      end)
    end)
  end)
end

--- Interrupts the running turn, which pauses the queue.
function M.interrupt() dispatch({ type = 'InterruptTurn', threadId = vim.b.treadle_thread, by = 'user' }) end

--- Sends the queued prompts again after an interruption or a failure.
function M.resume() dispatch({ type = 'ResumeQueue', threadId = vim.b.treadle_thread }) end

return M
