#!/usr/bin/env bash
# Measures Corecast with the programs beside this script. No compiler and no network are needed.
#
#   ./bench                     1, 2, 4, … shards against load generators on the other cores
#   ./bench scaling --rounds 5  the same with options: ./bench scaling --help
#   ./bench compare --quick     beside the floor and the peers whose programs are here
#
# Results are kept in results/, with the machine they are of. For many connections raise the limit
# of open files first: ulimit -n 100000.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export BENCH_COMMIT=@COMMIT@

case "${1-scaling}" in
  scaling) arguments=("$@") ;;
  compare) arguments=("${@:2}") ;;
  *)
    sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
if [[ $# -eq 0 ]]; then
  arguments=(scaling)
fi
exec bin/compare "${arguments[@]}" --programs bin --peers bin --folder logs --results results --report results
