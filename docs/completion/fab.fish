# Completion for fish: tasks, options and what may stand behind them, as fab itself tells them.
#
#     cp /opt/hivekeys/docs/completion/fab.fish ~/.config/fish/completions/

function __hivekeys
    set --local words (commandline --tokenize --current-process --cut-at-cursor)
    set --local word (commandline --current-token)
    set --local program (string replace --regex '^~/' "$HOME/" -- $words[1])
    set --local found ($program --complete -- $words $word 2>/dev/null)
    string match --quiet -- "$word*" $found
    and printf '%s\n' $found
    or __fish_complete_path $word
end

complete --command fab --no-files --arguments '(__hivekeys)'
complete --command hivekeys --no-files --arguments '(__hivekeys)'
