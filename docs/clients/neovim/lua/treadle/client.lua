--- A client of treadle: the connection, and views that follow a topic.
--- Needs only Neovim: vim.lsp.rpc frames messages and matches answers to their callbacks.

local M = { command = { 'treadle', 'serve' } }

local rpc -- the result of vim.lsp.rpc.start, while the daemon is running
local waiting = {} -- callbacks of unanswered requests: Neovim drops them when the daemon dies
local views = {} -- open views, by subscriptionId

--- Shows an error to the user, if there is one.
function M.report(err)
  if err then
    vim.notify('treadle: ' .. err.message, vim.log.levels.ERROR)
  end
end

-- The replica: a view has the entities of a topic, sorted by sequence, and finds them by kind and id.

local KINDS = {
  { 'projects', 'project' }, { 'threads', 'thread' }, { 'turns', 'turn' }, { 'messages', 'message' },
  { 'activities', 'activity' }, { 'approvals', 'approval' }, { 'checkpoints', 'checkpoint' },
  { 'prompts', 'prompt' },
}

local function put(view, kind, value)
  local entity = view.found[kind .. value.id]
  if not entity then
    entity = { kind = kind }
    view.found[kind .. value.id] = entity
    table.insert(view.entities, entity)
  end
  entity.value = value
end

local function sort(view)
  table.sort(view.entities, function(a, b) return a.value.sequence < b.value.sequence end)
end

local function load(view, snapshot)
  view.entities, view.found = {}, {}
  for _, names in ipairs(KINDS) do
    for _, value in ipairs(snapshot[names[1]] or {}) do
      put(view, names[2], value)
    end
  end
  sort(view)
end

--- Applies a change; false if it does not fit because an earlier one was lost.
local function apply(view, change)
  if change.type == 'upsert' then
    put(view, change.entity, change.value)
    sort(view)
    return true
  end
  local entity = view.found[change.entity .. change.id]
  if change.type == 'append' then
    if not entity or vim.fn.strchars(entity.value.text) ~= change.offset then -- code points: # would count bytes
      return false
    end
    entity.value.text = entity.value.text .. change.text
  elseif entity then
    view.found[change.entity .. change.id] = nil
    view.entities = vim.tbl_filter(function(one) return one ~= entity end, view.entities)
  end
  return true
end

-- The connection

--- Subscribes to a topic: show(view) is called now and after each change, until it returns false.
function M.follow(topic, thread_id, show)
  M.request('subscription/open', { topic = topic, threadId = thread_id }, function(err, opened)
    if err then
      return M.report(err)
    end
    local view = { topic = topic, thread_id = thread_id, show = show }
    load(view, opened.snapshot)
    views[opened.subscriptionId] = view
    show(view)
  end)
end

local function unfollow(id)
  views[id] = nil
  M.request('subscription/close', { subscriptionId = id }, M.report)
end

local function on_notification(method, params)
  local view = views[params.subscriptionId]
  if method == 'window/logMessage' then
    vim.notify('treadle: ' .. params.message, vim.log.levels.WARN)
  elseif method == 'projection/changed' and view then
    for _, change in ipairs(params.changes) do
      if not apply(view, change) then
        unfollow(params.subscriptionId)
        return M.follow(view.topic, view.thread_id, view.show)
      end
    end
    if view.show(view) == false then
      unfollow(params.subscriptionId)
    end
  end
end

local function on_exit(status, signal)
  local unanswered, followed = waiting, views
  rpc, waiting, views, M.status = nil, {}, {}, status
  local err = { message = ('the daemon ended with status %d, signal %d'):format(status, signal), data = {} }
  for _, callback in pairs(unanswered) do
    callback(err)
  end
  for _, view in pairs(followed) do
    view.ended = err.message
    view.show(view)
  end
end

--- Starts the daemon. Requests sent before it has answered `initialize` are queued by it.
local function start()
  -- Neovim schedules the other handlers itself; this one runs where most functions are not allowed.
  local handlers = { notification = on_notification, on_exit = vim.schedule_wrap(on_exit) }
  local arguments = { M.command, handlers }
  if vim.fn.has('nvim-0.10') == 0 then
    arguments = { M.command[1], vim.list_slice(M.command, 2), handlers }
  end
  local ok, started = pcall(vim.lsp.rpc.start, unpack(arguments))
  rpc = ok and started or nil
  if rpc then
    M.request('initialize', { processId = vim.fn.getpid() }, function(err)
      if err and rpc then -- the data directory was refused
        M.report(err)
        rpc.notify('exit')
      end
    end)
    rpc.notify('initialized', {})
  end
end

--- Sends a request. callback(err, result) is called exactly once, even if the daemon dies.
function M.request(method, params, callback)
  if not rpc then
    start()
  end
  if not rpc then
    return callback({ message = M.command[1] .. ' failed to start: see require("treadle.client").command', data = {} })
  end
  local key = {}
  waiting[key] = callback
  rpc.request(method, params, function(err, result)
    waiting[key] = nil
    callback(err, result)
  end)
end

--- Shuts the daemon down, waits for it, and returns its exit status.
function M.stop()
  if rpc then
    M.request('shutdown', nil, function()
      return rpc and rpc.notify('exit')
    end)
    vim.wait(5000, function() return rpc == nil end, 10)
  end
  return M.status
end

return M
