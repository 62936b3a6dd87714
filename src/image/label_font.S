/* data/label_font.ttf as bytes of the library. */
        .section .rodata
        .globl  label_font, label_font_size
        .hidden label_font, label_font_size
        .balign 4
label_font_size:
        .long   label_font_end - label_font
label_font:
        .incbin "label_font.ttf"
label_font_end:
        .section .note.GNU-stack,"",%progbits
