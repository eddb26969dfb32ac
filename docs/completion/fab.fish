# Completion for fish: tasks and options as fab itself tells them, and the fleets behind --fleet.
#
#     cp /opt/hivekeys/docs/completion/fab.fish ~/.config/fish/completions/

function __hivekeys_fleets --description 'The names of inventory/NAME.toml beside the fabfile that fab would find from here'
    set --local folder $PWD
    while test "$folder" != /; and not test -f $folder/fabfile.py
        set folder (dirname $folder)
    end
    for file in $folder/inventory/*.toml
        string replace --regex '^.*/(.*)\.toml$' '$1' -- $file
    end
end

function __hivekeys
    set --local words (commandline --tokenize --current-process --cut-at-cursor)
    set --local word (commandline --current-token)
    set --local fab (string replace --regex '^~/' "$HOME/" -- $words[1])
    set --local found
    if contains -- $words[-1] --fleet --against
        set found (__hivekeys_fleets)
    else
        set found ($fab --complete -- $words $word 2>/dev/null)
    end
    string match --quiet -- "$word*" $found
    and printf '%s\n' $found
    or __fish_complete_path $word
end

complete --command fab --no-files --arguments '(__hivekeys)'
