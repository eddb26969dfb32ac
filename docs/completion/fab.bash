# Completion for bash: tasks and options as fab itself tells them, and the fleets behind --fleet.
#
#     source /opt/hivekeys/docs/completion/fab.bash     # in ~/.bashrc

# The names of inventory/NAME.toml beside the fabfile that fab would find from here.
_hivekeys_fleets() {
    local folder=$PWD file
    while [[ -n $folder && ! -f $folder/fabfile.py ]]; do folder=${folder%/*}; done
    for file in "$folder"/inventory/*.toml; do
        file=${file##*/}
        [[ $file == '*.toml' ]] || printf '%s\n' "${file%.toml}"
    done
}

_hivekeys() {
    local fab=${1/#\~\//$HOME/} word=$2 before=$3 found
    [[ $before == = ]] && before=${COMP_WORDS[COMP_CWORD - 2]}
    COMPREPLY=()
    # Not `compgen -W`: it would carry out a $(…) in a file's name.
    while read -r found; do
        [[ $found == "$word"* ]] && COMPREPLY+=("$(printf '%q' "$found")")
    done < <(
        case $before in
            --fleet | --against) _hivekeys_fleets ;;
            *) "$fab" --complete -- "${COMP_WORDS[@]}" 2>/dev/null ;;
        esac
    )
}

complete -F _hivekeys -o default fab
