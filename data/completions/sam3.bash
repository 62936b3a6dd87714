# bash completion for sam3
_sam3() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]}
  local model='-m --model -d --device --dtype'
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    COMPREPLY=($(compgen -W 'segment batch serve top info devices bench tokenize convert help version --help --version' -- "$cur"))
    return
  fi
  case $prev in
  --dtype) COMPREPLY=($(compgen -W 'f32 bf16 f16' -- "$cur")) && return ;;
  --format) COMPREPLY=($(compgen -W 'json coco yolo labelme polygons' -- "$cur")) && return ;;
  -d | --device) COMPREPLY=($(compgen -W 'cpu cpu:0 cpu:0,cpu:1 ref' -- "$cur")) && return ;;
  --parallel) COMPREPLY=($(compgen -W 'auto threads processes' -- "$cur")) && return ;;
  --schedule) COMPREPLY=($(compgen -W 'auto replicate split' -- "$cur")) && return ;;
  --launcher) COMPREPLY=($(compgen -W 'auto none env' -- "$cur")) && return ;;
  --masks) [[ $command == segment ]] && COMPREPLY=($(compgen -d -- "$cur")) && return ;;
  -p | --prompt | --box | --not-box | -t | --threshold | -n | --runs | --max-pixels | --workers) return ;;
  esac
  if [[ $cur == -* ]]; then
    local flags=
    case $command in
    segment)
      flags="$model -p --prompt --box --not-box --prompts -t --threshold --json -o --output --format --overlay
        --masks --max-pixels -q --quiet --parallel --schedule --launcher"
      ;;
    batch)
      flags="$model -p --prompt --box --not-box --prompts -t --threshold --list -o --output --format --overlay
        --masks --keep-ending --retry-failed --restart --workers --max-pixels -q --quiet --parallel --schedule --launcher"
      ;;
    serve)
      flags="-c --config -m --model -d --device --allowed-hosts --api-keys --batch-size-per-gpu --cache-bytes --cors-origins --device-ids --drain-seconds
        --dtype --host --idle-seconds --image-bytes --launcher --log-file --master-port --max-body-bytes --max-connections
        --max-pixels --max-prompts --model-path --num-workers --port --queue-bytes --queue-requests
        --request-seconds --schedule --threshold --upload-seconds --use-ddp"
      ;;
    top) flags='--once --json' ;;
    info) flags="$model --tensors --json" ;;
    devices) flags=--json ;;
    bench) flags="$model --random-weights --image -p --prompt -n --runs --json" ;;
    tokenize) flags='-m --model' ;;
    convert) flags=--dtype ;;
    esac
    COMPREPLY=($(compgen -W "$flags -h --help" -- "$cur"))
  elif [[ $command == help ]]; then
    COMPREPLY=($(compgen -W 'segment batch serve top info devices bench tokenize convert' -- "$cur"))
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -o filenames -F _sam3 sam3
