# Completion for zsh: tasks, options and what may stand behind them, as fab itself tells them.
#
#     autoload -Uz compinit && compinit
#     source /opt/hivekeys/docs/completion/fab.zsh      # in ~/.zshrc

_hivekeys() {
    local program=${${(Q)words[1]}/#\~\//$HOME/}
    local -a found
    found=(${(f)"$($program --complete -- $words 2>/dev/null)"})
    compadd -a found || _files
}

compdef _hivekeys fab hivekeys
