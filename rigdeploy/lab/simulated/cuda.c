/*
 * libcuda.so.1 and libnvidia-ml.so.1 of a rigdeploy twin, in one shared object.
 *
 * Simulated by rigdeploy's lab: it holds nothing of NVIDIA's. It has those functions of both libraries that
 * rigdeploy/node/active.py calls, with their names, signatures and error codes (cuda.h and nvml.h, CUDA 11 to 13).
 *
 *     gcc -shared -fPIC -O2 -Wall -Werror -pthread -o libcuda.so.1 cuda.c      and the same file as libnvidia-ml.so.1
 *
 * RIGDEPLOY_SIMULATED_CUDA names the file that describes the cards; otherwise /run/rigdeploy-twin/cuda.conf does. Without
 * that file there is no driver: cuInit answers 100 (CUDA_ERROR_NO_DEVICE), nvmlInit_v2 9 (NVML_ERROR_DRIVER_NOT_LOADED).
 *
 * The file: one card per line, in the order of their addresses, as words KEY=VALUE parted by blanks; a value holds no
 * blank. A line that starts with # is a comment. A line without address= is about the whole driver:
 *
 *     module=PATH       the driver is loaded only while this path exists: /sys/module/nvidia
 *     cuinit=CODE       cuInit fails with it: 803 is CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
 *     nvmlinit=CODE     nvmlInit_v2 fails with it: 18 is NVML_ERROR_LIB_RM_VERSION_MISMATCH
 *
 * A card:
 *
 *     address=0000:41:00.0    PCI address (needed)
 *     memory_mib=24576        all its memory (needed)
 *     used_mib=0              of it, what other programs hold
 *     gen=4 width=16          its link under load; without them, what link_dir shows at that moment
 *     efficiency=0.85         share of the link's theoretical bandwidth that copies reach
 *     switch=NAME             cards of one NAME share the bandwidth of one link among those that copy at a time
 *     link_dir=DIR            the card's directory of sysfs. While it copies, current_link_speed there says gen's speed;
 *                             200 ms after the last copy it says again what it said before
 *     port_dir=DIR            likewise for the port above it
 *     correctable_per_gb=0    AER errors that link_dir's aer_dev_correctable gains per 10^9 bytes copied
 *     nonfatal_per_gb=0 fatal_per_gb=0
 *     aer_dir=DIR             count them there instead of in link_dir (the port's end of the link, say)
 *     replays_per_gb=0        likewise for NVML's replay counter, which is kept in
 *     replays_file=PATH       this file, as a decimal number; without it the counter stays 0
 *     bad_memory_at_mib=N     from there on, words have a bit that always reads 1 (the first 100 MiB hold buffers of the
 *     bad_words=1             check and are not tested); so many words
 *     alias_mib=N             memory beyond N MiB is in truth the memory from 0 on again: a card of faked capacity
 *     processes=N             so many processes compute on it
 *     mig=1                   MIG is on
 *     p2p=1                   it reaches every other card that says so too
 *     p2p_broken=1            ... but what it sends to them arrives wrong
 *     nvlink=ADDRESS,-        one word per NVLink, parted by commas: the address at the other end, - for one that is down
 *     fail=NAME:CODE:AFTER    that function fails with CODE from its call number AFTER (0: the first) on; several are
 *                             parted by commas, :AFTER may be left out
 *     hang=NAME:AFTER         that function never returns
 *
 * A link or counter file that is absent or cannot be written is left alone. Copies really copy. Time on a stream passes
 * as the link would let it, and a copy takes at least that long; events show the stream's time, so that a busy host
 * does not look like a slow link. Device memory is real only where it was written, and a copy from device to device
 * costs nothing until either side changes.
 */
