--- The user commands of the example. Add its folder with `:set runtimepath+=`.

local function command(name, run, arguments)
  vim.api.nvim_create_user_command(name, function(given) require('treadle')[run](given.args) end, { nargs = arguments })
end

command('TreadleThreads', 'pick', 0)
command('TreadleNew', 'new', '+')
command('TreadleAgent', 'agent', '?')
command('TreadleSend', 'send', '+')
command('TreadleSteer', 'steer', '+')
command('TreadleApprove', 'approve', 0)
command('TreadleDiff', 'diff', 0)
command('TreadleUndo', 'undo', '?')
command('TreadleInterrupt', 'interrupt', 0)
command('TreadleResume', 'resume', 0)

vim.api.nvim_create_autocmd('VimLeavePre', {
  callback = function() require('treadle.client').stop() end,
})
