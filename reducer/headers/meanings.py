"""What the keywords and columns of products mean, and their units: what a file says of itself."""

from __future__ import annotations

from collections.abc import Mapping

#: Comments of the keywords that goafetch writes. Zeropoints have theirs in ``photometry.zeropoint``.
KEYWORDS: Mapping[str, str] = {
    # Time stamps, as DRAGONS marks what was done.
    "GEM-TLM": "UTC, last modified by a reduction",
    "PREPARE": "UTC, headers put right",
    "FLATCORR": "UTC, divided by the flat",
    "SKYCORR": "UTC, sky subtracted",
    "ALIGN": "UTC, aligned with the other exposures",
    "STACKFRM": "UTC, exposures stacked",
    "PROCSCI": "UTC, processed science image",
    "PROCFLAT": "UTC, processed flat",
    "PROCBPM": "UTC, processed bad-pixel mask",
    "BPMASK": "UTC, bad-pixel mask made",
    # Where it came from.
    "ORIGNAME": "first raw exposure",
    "GOAFVERS": "version of goafetch",
    "GOAFKEY": "key of inputs and parameters",
    "FLATIM": "flat that it was divided by",
    "BPMIM": "static bad-pixel mask",
    "FLATKIND": "how the flat was lit",
    "FLATNON": "lamp-on exposures",
    "FLATNOFF": "lamp-off exposures",
    "REFFRAME": "exposure whose flux scale the stack has",
    "LNRSREAD": "LNRS holds reads, whatever the date",
    # Levels.
    "GAIN": "[electron/ADU] of these pixels",
    "RDNOISE": "[electron] read noise of these pixels",
    "SATLEVEL": "[electron] saturation level",
    "NONLINEA": "[electron] non-linear above",
    "SKYMODE": "how the level of the sky was found",
    "SKYNUM": "sky exposures in the pattern",
    "SKYLEVM": "where the level of the sky is from",
    "SKYSIGMA": "[electron] uncertainty of the sky's level",
    "SKYLEVEL": "[electron] sky level subtracted",
    "CHANRMS": "[electron] rms of channel offsets",
    # Stacks.
    "TEXPTIME": "[s] exposure time of all exposures together",
    "NCOMBINE": "exposures in the stack",
    "NOISCORR": "noise of 8x8 pixels over sqrt(sum of VAR)",
    "NCORR02": "noise of 2x2 pixels over sqrt(sum of VAR)",
    "NCORR04": "noise of 4x4 pixels over sqrt(sum of VAR)",
    "COMPL90": "[electron] light of stars of which 90% are found",
    "COMPL50": "[electron] light of stars of which 50% are found",
    "ASTRCAT": "catalogue that positions are tied to",
    "ASTRNUM": "its stars that tie them",
    "ASTRRMS": "[arcsec] their rms residual",
    "ASTREPOC": "[yr] epoch of their positions",
    "PHOTMISS": "why there is no zeropoint",
    # What every image says.
    "CTYPE1": "R.A. in tangent plane projection",
    "CTYPE2": "DEC. in tangent plane projection",
    "CUNIT1": "unit of axis 1",
    "CUNIT2": "unit of axis 2",
    "CRPIX1": "reference pixel of axis 1",
    "CRPIX2": "reference pixel of axis 2",
    "CRVAL1": "[deg] R.A. at the reference pixel",
    "CRVAL2": "[deg] DEC. at the reference pixel",
    "CD1_1": "[deg] WCS matrix element 1 1",
    "CD1_2": "[deg] WCS matrix element 1 2",
    "CD2_1": "[deg] WCS matrix element 2 1",
    "CD2_2": "[deg] WCS matrix element 2 2",
    "RADESYS": "reference system",
    "EQUINOX": "[yr] equinox of coordinates",
    "EXTNAME": "name of the plane",
    "EXTVER": "array, 1 of a stack",
    "BUNIT": "unit of the pixels",
}

#: Units of further planes beside SCI, VAR and DQ.
IMAGES: Mapping[str, str] = {"EXPTIME": "s"}

#: Tables that belong to the image, as DRAGONS has it: they carry its EXTVER, the others none.
TABLES_OF_THE_IMAGE = frozenset({"OBJCAT"})

#: Unit ('' for none) and meaning of each column, by table.
COLUMNS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "PROVENANCE": {
        "timestamp": ("", "UTC, when it was used"),
        "filename": ("", "what the product was made from"),
        "md5": ("", "of that file"),
        "provenance_added_by": ("", "input, calibration, recipe"),
    },
    "HISTORY": {
        "timestamp_start": ("", "UTC, begin of the step"),
        "timestamp_stop": ("", "UTC, end of the step"),
        "primitive": ("", "step"),
        "args": ("", "parameters in force, JSON"),
    },
    "VERSIONS": {"package": ("", "package"), "version": ("", "its version")},
    "OBJCAT": {
        "NUMBER": ("", "number of the source"),
        "X_IMAGE": ("pix", "column, the first is 1"),
        "Y_IMAGE": ("pix", "row, the first is 1"),
        "RA": ("deg", "right ascension"),
        "DEC": ("deg", "declination"),
        "ERR_POS": ("arcsec", "error per axis"),
        "FLUX_APER": ("electron", "in apertures"),
        "FLUXERR_APER": ("electron", "error of FLUX_APER"),
        "FLUX_TOTAL": ("electron", "total light"),
        "FLUXERR_TOTAL": ("electron", "error of FLUX_TOTAL"),
        "APERCOR": ("mag", "from first aperture to total"),
        "PEAK": ("electron", "brightest pixel"),
        "BACKGROUND": ("electron", "background of a pixel"),
        "FWHM_IMAGE": ("pix", "full width at half maximum"),
        "ELLIPTICITY": ("", "1 - minor / major axis"),
        "THETA_IMAGE": ("deg", "major axis from +x to +y"),
        "FLAGS": ("", "bits, see docs"),
        "MAG_APER": ("mag", "Vega, in apertures"),
        "MAGERR_APER": ("mag", "error of MAG_APER"),
        "MAG_TOTAL": ("mag", "Vega, of total light"),
        "MAGERR_TOTAL": ("mag", "error of MAG_TOTAL"),
    },
    "COMPLETENESS": {
        "FLUX": ("electron", "total light of a star"),
        "FRACTION": ("", "of the places where it is found"),
    },
    "NOISE": {
        "n": ("pix", "side of a box"),
        "ratio": ("", "its noise over sqrt(sum of VAR)"),
        "correlation": ("", "of pixels n - 1 apart"),
    },
    "SKYSHARES": {
        "exposure": ("", "row of EXPOSURES"),
        "weight": ("", "its weight, sum 1"),
        "x": ("pix", "column of its middle, from 0"),
        "y": ("pix", "row of its middle, from 0"),
        "own": ("electron**2", "variance of its own"),
        "sky": ("", "sky exposure in it"),
        "deviation": ("electron", "noise of that sky in it"),
    },
    "EXPOSURES": {
        "filename": ("", "exposure"),
        "ut": ("", "UTC, begin"),
        "seconds": ("s", "exposure time of all coadds"),
        "fwhm": ("arcsec", "median FWHM of its stars"),
        "ellipticity": ("", "median of its stars"),
        "strehl": ("", "estimate, median of its stars"),
        "sky": ("electron", "sky level subtracted"),
        "transparency": ("", "relative to the first"),
        "transparency_error": ("", "its error"),
        "weight": ("", "in the stack, sum 1"),
        "shift_east": ("arcsec", "from its header's pointing"),
        "shift_north": ("arcsec", "from its header's pointing"),
        "matches": ("", "stars that aligned it"),
        "rms": ("arcsec", "their residual per axis"),
        "model": ("", "model of its geometry"),
        "outlier": ("", "in what it stands out"),
    },
    "RESIDUALS": {
        "exposure": ("", "row of EXPOSURES"),
        "X_IMAGE": ("pix", "mean column, the first is 1"),
        "Y_IMAGE": ("pix", "mean row, the first is 1"),
        "DX": ("arcsec", "this exposure from the mean, x"),
        "DY": ("arcsec", "this exposure from the mean, y"),
    },
}
