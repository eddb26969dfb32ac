# Completion for zsh: tasks and options as fab itself tells them, and the fleets behind --fleet.
#
#     autoload -Uz compinit && compinit
#     source /opt/hivekeys/docs/completion/fab.zsh      # in ~/.zshrc

_hivekeys() {
    local fab=${${(Q)words[1]}/#\~\//$HOME/} folder=$PWD
    local -a found
    if [[ $words[CURRENT-1] == (--fleet|--against) ]]; then
        # The names of inventory/NAME.toml beside the fabfile that fab would find from here.
        while [[ -n $folder && ! -f $folder/fabfile.py ]]; do folder=${folder%/*}; done
        found=($folder/inventory/*.toml(N:t:r))
    else
        found=(${(f)"$($fab --complete -- $words 2>/dev/null)"})
    fi
    compadd -a found || _files
}

compdef _hivekeys fab
