#!/bin/sh
# ipmi_sim's chassis control of a rig that is a few files: DIRECTORY get|set NAME [VALUE]...
#   power     0 or 1, what is read
#   swallow   how many of the next changes are acknowledged and ignored
#   lag       how many readings show the old state after a change
#   log       "ask N" for each request, "now N" for each change that it made
dir=$1 verb=$2
shift 2

number() {
    value=0
    [ ! -f "$dir/$1" ] || read -r value <"$dir/$1"
}

change() {
    echo "ask $1" >>"$dir/log"
    number swallow
    if [ "$value" -gt 0 ]; then
        echo $((value - 1)) >"$dir/swallow"
        return
    fi
    number power
    [ "$value" = "$1" ] || echo "now $1" >>"$dir/log"
    number lag
    [ "$value" = 0 ] || echo "$value" >"$dir/wait"
    echo "$1" >"$dir/power"
}

reading() {
    number power
    state=$value
    number wait
    if [ "$value" -gt 0 ]; then
        echo $((value - 1)) >"$dir/wait"
        state=$((1 - state))
    fi
    echo "power:$state"
}

if [ "$verb" = get ]; then
    for name; do
        case $name in
            power) reading ;;
            *) echo "$name:none" ;;
        esac
    done
    exit 0
fi
while [ $# -ge 2 ]; do
    case $1 in
        power) change "$2" ;;
        shutdown) [ -f "$dir/ignores_shutdown" ] || change 0 ;;
        *) exit 1 ;;
    esac
    shift 2
done
