--- What docs/clients.md says of vim.lsp.rpc, tried; prints what came of it as JSON.

local command = vim.json.decode(vim.env.TREADLE_COMMAND)
local seen = { callback = false }
local handlers = {
  on_exit = function()
    seen.fast = vim.in_fast_event()
    seen.ended = true
  end,
}
local rpc
if vim.fn.has('nvim-0.10') == 1 then
  rpc = vim.lsp.rpc.start(command, handlers)
else
  rpc = vim.lsp.rpc.start(command[1], vim.list_slice(command, 2), handlers)
end

local pid
rpc.request('initialize', {}, function() end)
rpc.request('thread/list', {}, function(err) seen.empty = err == nil end)
rpc.request('daemon/status', nil, function(_, status) pid = status.pid end)
vim.wait(30000, function() return pid and seen.empty ~= nil end)

vim.loop.kill(pid, 'sigstop')
rpc.request('thread/list', nil, function() seen.callback = true end)
vim.loop.kill(pid, 'sigkill')
vim.wait(30000, function() return seen.ended end)
vim.wait(1) -- what is scheduled runs
io.stdout:write(vim.json.encode(seen), '\n')
