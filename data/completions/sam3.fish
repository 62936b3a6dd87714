# fish completion for sam3
function __sam3_first
    test (count (commandline -opc)) -eq 1
end
function __sam3_in
    set -l words (commandline -opc)
    test (count $words) -gt 1; and contains -- $words[2] $argv
end
complete -c sam3 -n __sam3_first -f -a segment -d 'find every instance of a phrase in images'
complete -c sam3 -n __sam3_first -f -a batch -d 'the same for whole folders, resumable'
complete -c sam3 -n __sam3_first -f -a serve -d 'serve the web page and the HTTP API'
complete -c sam3 -n __sam3_first -f -a top -d 'what the devices of a server do'
complete -c sam3 -n __sam3_first -f -a info -d 'what a model is, and the memory it takes'
complete -c sam3 -n __sam3_first -f -a devices -d 'what there is to compute on'
complete -c sam3 -n __sam3_first -f -a bench -d 'time every stage of the network'
complete -c sam3 -n __sam3_first -f -a tokenize -d 'the token ids of texts'
complete -c sam3 -n __sam3_first -f -a convert -d 'a checkpoint as a Hugging Face directory'
complete -c sam3 -n __sam3_first -f -a help -d 'the help of a command'
complete -c sam3 -n __sam3_first -f -a version -d 'the version'
complete -c sam3 -s h -l help -d help
complete -c sam3 -n '__sam3_in segment batch info bench tokenize' -s m -l model -r -d checkpoint
complete -c sam3 -n '__sam3_in segment batch info bench' -s d -l device -x -a 'cpu cpu:0 cpu:0,cpu:1 ref' -d device
complete -c sam3 -n '__sam3_in segment batch info bench' -l dtype -x -a 'f32 bf16 f16' -d 'what to compute in'
complete -c sam3 -n '__sam3_in convert' -l dtype -x -a 'bf16 f16 f32' -d 'stored as'
complete -c sam3 -n '__sam3_in segment batch bench' -s p -l prompt -x -d 'a phrase'
complete -c sam3 -n '__sam3_in segment batch' -l box -x -d 'an example: x0,y0,x1,y1'
complete -c sam3 -n '__sam3_in segment batch' -l not-box -x -d 'a counter-example: x0,y0,x1,y1'
complete -c sam3 -n '__sam3_in segment batch' -l prompts -r -d 'more prompts, JSON'
complete -c sam3 -n '__sam3_in segment batch' -s t -l threshold -x -d 'least score'
complete -c sam3 -n '__sam3_in segment' -l json -r -d 'results as JSON'
complete -c sam3 -n '__sam3_in segment batch' -s o -l output -r -d 'results in --format'
complete -c sam3 -n '__sam3_in segment batch' -l format -x -a 'json coco yolo labelme polygons' -d format
complete -c sam3 -n '__sam3_in segment' -l overlay -r -d 'drawn on the image'
complete -c sam3 -n '__sam3_in segment' -l masks -r -d 'a PNG for each mask'
complete -c sam3 -n '__sam3_in segment batch' -l max-pixels -x -d 'refuse larger images'
complete -c sam3 -n '__sam3_in segment batch' -s q -l quiet -d 'only errors'
complete -c sam3 -n '__sam3_in info' -l tensors -d 'list the tensors'
complete -c sam3 -n '__sam3_in top info devices bench' -l json -d 'as JSON'
complete -c sam3 -n '__sam3_in bench' -l random-weights -r -d 'config.json of a random model'
complete -c sam3 -n '__sam3_in bench' -l image -r -d image
complete -c sam3 -n '__sam3_in bench' -s n -l runs -x -d 'how many runs'
complete -c sam3 -n '__sam3_in segment batch' -l parallel -x -a 'auto threads processes' -d 'workers are'
complete -c sam3 -n '__sam3_in segment batch' -l schedule -x -a 'auto replicate split' -d 'images go'
complete -c sam3 -n '__sam3_in batch' -l list -r -d 'more inputs, one a line'
complete -c sam3 -n '__sam3_in batch' -l overlay -d 'images with masks drawn on them'
complete -c sam3 -n '__sam3_in batch' -l masks -d 'a PNG for each mask'
complete -c sam3 -n '__sam3_in batch' -l keep-ending -d 'a.jpg.json, not a.json'
complete -c sam3 -n '__sam3_in batch' -l retry-failed -d 'try failed images again'
complete -c sam3 -n '__sam3_in batch' -l restart -d 'begin anew'
complete -c sam3 -n '__sam3_in batch' -l workers -x -d 'images in hand at a time'
complete -c sam3 -n '__sam3_in top' -l once -d 'print one table'
complete -c sam3 -n '__sam3_in serve' -s c -l config -r -d 'settings, YAML'
complete -c sam3 -n '__sam3_in serve' -s m -r -d checkpoint
complete -c sam3 -n '__sam3_in serve' -s d -x -d devices
complete -c sam3 -n '__sam3_in serve' -a "(sam3 serve --help 2>/dev/null | string match -r -- '--[a-z-]+(?==)')"
