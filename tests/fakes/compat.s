# The note by which the libcuda of a cuda-compat package says for which drivers it is meant.
    .section .note.cuda.fwd_compatibility, "a", @note
    .balign 4
    .long name_end - name
    .long text_end - text
    .long 1
name:
    .asciz "NVIDIA Corporation"
name_end:
    .balign 4
text:
    .ascii "{\"Format\": 1, \"CUDA Version\": \"99.0\", \"Driver\": [535, 550, 570, 580], \"Device\": [1, 2]}"
text_end:
    .balign 4
    .section .note.GNU-stack, "", @progbits
