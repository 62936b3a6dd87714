/* data/clip_merges.txt.gz as bytes of the library. */
        .section .rodata
        .globl  clip_merges, clip_merges_size
        .hidden clip_merges, clip_merges_size
        .balign 4
clip_merges_size:
        .long   clip_merges_end - clip_merges
clip_merges:
        .incbin "clip_merges.txt.gz"
clip_merges_end:
        .section .note.GNU-stack,"",%progbits
