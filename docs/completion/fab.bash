# Completion for bash: tasks, options and what may stand behind them, as fab itself tells them.
#
#     source /opt/hivekeys/docs/completion/fab.bash     # in ~/.bashrc

_hivekeys() {
    local program=${1/#\~\//$HOME/} word=$2 found
    COMPREPLY=()
    # Not `compgen -W`: it would carry out a $(…) in a file's name.
    while read -r found; do
        [[ $found == "$word"* ]] && COMPREPLY+=("$(printf '%q' "$found")")
    done < <("$program" --complete -- "${COMP_WORDS[@]}" 2>/dev/null)
}

complete -F _hivekeys -o default fab hivekeys
