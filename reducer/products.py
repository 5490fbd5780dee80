"""What products and calibrations are called: suffixes of files, kinds of calibrations."""

#: Suffixes of what a reduction ends with: master flats, static masks, exposures off and on target, stacks.
FLAT, BPM = "_flat", "_bpm"
OFF_TARGET, ON_TARGET, STACK = "_flatCorrected", "_skyCorrected", "_image"
#: Kinds of calibrations, as DRAGONS calls them.
PROCESSED_FLAT, PROCESSED_BPM = "processed_flat", "processed_bpm"
