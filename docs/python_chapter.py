"""The Python chapter of the GSAOI tutorial: run it in a playground beside playdata/."""

import glob
from collections import namedtuple

from goafetch.api import Reduce, cal_service, dataselect, disco, disco_pars, logutils

logutils.config(file_name="gsaoi_data_reduction.log")

caldb = cal_service.CalibrationService()
caldb.config()
caldb.init()
cal_service.set_calservice()

all_files = glob.glob("../playdata/*.fits")  # noqa: PTH207 - as the tutorial has it
all_files.sort()

list_of_flats_Ks = dataselect.select_data(
    all_files, ["FLAT"], [], dataselect.expr_parser('filter_name=="Kshort"')
)
list_of_std_stars = dataselect.select_data(
    all_files, [], [], dataselect.expr_parser('observation_class=="partnerCal"')
)
list_of_science_images = dataselect.select_data(
    all_files, [], [], dataselect.expr_parser('(observation_class=="science" and exposure_time==60.)')
)

for bpm in dataselect.select_data(all_files, ["BPM"]):
    caldb.add_cal(bpm)

reduce_flats = Reduce()
reduce_flats.files.extend(list_of_flats_Ks)
reduce_flats.runr()
caldb.add_cal(reduce_flats.output_filenames[0])

reduce_std = Reduce()
reduce_std.files.extend(list_of_std_stars)
reduce_std.runr()

reduce_target = Reduce()
reduce_target.files.extend(list_of_science_images)
reduce_target.uparms.append(("skyCorrect:offset_sky", False))
reduce_target.runr()

MatchInfo = namedtuple("MatchInfo", ["offset_radius", "match_radius", "min_matches", "degree"])

object_match_info = MatchInfo(
    disco_pars.OBJCAT_ALIGN_RADIUS[0], disco_pars.OBJCAT_ALIGN_RADIUS[1], None, disco_pars.OBJCAT_POLY_DEGREE
)
reference_match_info = MatchInfo(
    disco_pars.REFCAT_ALIGN_RADIUS[0],
    disco_pars.REFCAT_ALIGN_RADIUS[1],
    disco_pars.REFCAT_MIN_MATCHES,
    disco_pars.REFCAT_POLY_DEGREE,
)

disco.disco(
    infiles=reduce_target.output_filenames,
    output_identifier="my_Kshort_stack",
    objmatch_info=object_match_info,
    refmatch_info=reference_match_info,
    pixel_scale=disco_pars.PIXEL_SCALE,
    skysub=False,
)
