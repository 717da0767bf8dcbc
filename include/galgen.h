/* galgen: learned galaxies for image simulators. MIT OR Apache-2.0.
 *
 * Generated from galgen-ffi/src by `GALGEN_UPDATE_HEADER=1 cargo test -p galgen-ffi --test header`.
 *
 * A program opens a model once, makes one session per thread, and draws:
 *
 *     galgen_error error = galgen_error_default();
 *     galgen_model *model = NULL;
 *     galgen_session *session = NULL;
 *     if (galgen_model_open("model.safetensors", &model, &error) != GALGEN_STATUS_OK ||
 *         galgen_session_new(model, &session, &error) != GALGEN_STATUS_OK) {
 *         fprintf(stderr, "%s\n", error.message);
 *     }
 *
 * Threads. `const galgen_model *` may be used by any number of threads at once, `galgen_session *`
 * by one at a time. The library starts no threads and keeps no state of its own.
 *
 * Same input, same bits. A stamp depends on the model file, the seed and the object (with its grid)
 * alone: not on batch, order, thread, instructions of the CPU, or language of the caller.
 *
 * Memory. Buffers belong to the caller, with their lengths in elements, and are checked. Buffers of
 * one call must not overlap. Drawing and scoring allocate nothing. Handles are freed
 * with their _free function. Texts are UTF-8.
 *
 * Structs begin with `struct_size` so that they can grow: start from their _default function. An
 * older program passes smaller structs, whose missing fields have their defaults; from a newer
 * program, fields that the library does not know must be 0.
 *
 * Failures. Functions return a galgen_status, GALGEN_STATUS_OK is 0, and fill the caller's
 * galgen_error unless it is NULL. No function ends the program, and no panic leaves the library (a
 * defect of the library prints a line to standard error and is reported as GALGEN_STATUS_PANIC).
 *
 * Units and conventions. Stamps are row-major [bands, height, width], index y * width + x; a pixel is
 * the flux within it; the centre is ((width - 1) / 2, (height - 1) / 2). Angles are in degrees
 * counter-clockwise from +x towards +y, lengths on the sky in arcsec, log-likelihoods in nats. */


#ifndef GALGEN_H
#define GALGEN_H

#include <stddef.h>
#include <stdint.h>

/** Version of this header; galgen_version() is that of the library. */
#define GALGEN_VERSION "0.1.0"
#define GALGEN_VERSION_MAJOR 0
#define GALGEN_VERSION_MINOR 1
#define GALGEN_VERSION_PATCH 0

/** Whether this header and the library that the program runs with belong together. */
#define GALGEN_CHECK_ABI(error) \
    galgen_abi_check(GALGEN_ABI_VERSION, GALGEN_ABI_REVISION, (error))

/**
 * Version of the binary interface. Programs built for another version cannot use the library.
 */
#define GALGEN_ABI_VERSION 1

/**
 * Grows when functions or fields of structs are added without breaking programs that are already
 * built; goes back to 0 with a new GALGEN_ABI_VERSION.
 */
#define GALGEN_ABI_REVISION 0

/**
 * Bytes of the text of an error, with its final zero byte.
 */
#define GALGEN_MESSAGE_SIZE 512

/**
 * Most conditions that a model has.
 */
#define GALGEN_MAX_CONDITIONS 16

/**
 * Condition 0 is outside its trained range; condition i is GALGEN_FLAG_OUT_OF_RANGE << i.
 */
#define GALGEN_FLAG_OUT_OF_RANGE 1

/**
 * Each condition may be in range, but their combination is not (Mahalanobis distance).
 */
#define GALGEN_FLAG_JOINT_EXTRAPOLATION (1 << 16)

/**
 * The stamp is too round for its orientation to be corrected to the request.
 */
#define GALGEN_FLAG_ROUND (1 << 17)

/**
 * `pixels` of galgen_session_sample_images: the mean of each pixel, the probability of 1 where pixels are 0 or 1; of an
 * autoregressive model given the pixels drawn before it.
 */
#define GALGEN_PIXELS_MEAN 0

/**
 * `pixels` of galgen_session_sample_images: a draw of each pixel.
 */
#define GALGEN_PIXELS_DRAWN 1

/**
 * Result of a function, of an object or of a stamp. Later libraries may add values.
 */
typedef enum galgen_status {
    /**
     * Done.
     */
    GALGEN_STATUS_OK = 0,
    /**
     * Some objects or stamps of the call failed; each has its own status, the others are done.
     */
    GALGEN_STATUS_PARTIAL = 1,
    /**
     * A pointer that must not be NULL is NULL.
     */
    GALGEN_STATUS_NULL = 2,
    /**
     * The `struct_size` of a struct is none that this library knows: initialise structs with their
     * `_default` function. Or a newer field, unknown to this library, is set.
     */
    GALGEN_STATUS_STRUCT_SIZE = 3,
    /**
     * A buffer is too short, or an input has another length than the model asks for.
     */
    GALGEN_STATUS_LENGTH = 4,
    /**
     * A number, a text or a pointer's alignment is out of range.
     */
    GALGEN_STATUS_ARGUMENT = 5,
    /**
     * There is no condition or band of this index or name.
     */
    GALGEN_STATUS_NOT_FOUND = 6,
    /**
     * A file cannot be read.
     */
    GALGEN_STATUS_IO = 7,
    /**
     * The file or memory is no model: truncated, damaged, or tensors that do not fit the card.
     */
    GALGEN_STATUS_MODEL_FILE = 8,
    /**
     * The model was written by a newer galgen.
     */
    GALGEN_STATUS_MODEL_NEWER = 9,
    /**
     * The decoder draws no light for these conditions or this latent; or a flow gives no numbers.
     */
    GALGEN_STATUS_NO_LIGHT = 10,
    /**
     * Size, shear and magnification of the object cannot be rendered together.
     */
    GALGEN_STATUS_UNRENDERABLE = 11,
    /**
     * A stamp to be scored has no light, or a pixel that is not finite.
     */
    GALGEN_STATUS_STAMP = 12,
    /**
     * galgen_session_set_grid has not been called for this session.
     */
    GALGEN_STATUS_NO_GRID = 13,
    /**
     * Grid and point-spread function need more memory than a session may take (1 GiB).
     */
    GALGEN_STATUS_TOO_LARGE = 14,
    /**
     * Header and library have different ABI versions.
     */
    GALGEN_STATUS_ABI = 15,
    /**
     * A defect of the library was caught; its text is in the error. Free the session that was used.
     */
    GALGEN_STATUS_PANIC = 16,
    /**
     * Models of this kind do not do this: a plain image has no size, an autoencoder no likelihood.
     */
    GALGEN_STATUS_UNSUPPORTED = 17,
} galgen_status;

/**
 * Which half-light radius a request means.
 */
typedef enum galgen_size_definition {
    /**
     * Radius of the circle that holds half of the flux (SExtractor FLUX_RADIUS, GalSim calculateHLR).
     */
    GALGEN_SIZE_DEFINITION_CIRCULAR = 0,
    /**
     * Semi-major axis of the ellipse that holds half of the flux (Sersic fits).
     */
    GALGEN_SIZE_DEFINITION_SEMI_MAJOR = 1,
} galgen_size_definition;

/**
 * Kind of a point-spread function.
 */
typedef enum galgen_psf_kind {
    /**
     * None.
     */
    GALGEN_PSF_KIND_NONE = 0,
    /**
     * Circular Gaussian of `fwhm`.
     */
    GALGEN_PSF_KIND_GAUSSIAN = 1,
    /**
     * Circular Moffat profile of `fwhm` and `beta`.
     */
    GALGEN_PSF_KIND_MOFFAT = 2,
    /**
     * The image of a point source.
     */
    GALGEN_PSF_KIND_IMAGE = 3,
} galgen_psf_kind;

/**
 * A loaded model, immutable. Any number of threads may use it at once.
 */
typedef struct galgen_model galgen_model;

/**
 * Draws and scores with one model. Holds all scratch memory: drawing and scoring allocate nothing.
 * One thread at a time.
 */
typedef struct galgen_session galgen_session;

/**
 * What went wrong, filled by the function that gets it. Owned by the caller; every function accepts
 * NULL instead. Functions that succeed set GALGEN_STATUS_OK and an empty text.
 */
typedef struct galgen_error {
    /**
     * sizeof(galgen_error), set by galgen_error_default or by the caller.
     */
    size_t struct_size;
    /**
     * The status that the function returned.
     */
    enum galgen_status code;
    /**
     * One sentence in English, UTF-8, ends with a zero byte: what, found, expected, what to do.
     */
    char message[GALGEN_MESSAGE_SIZE];
} galgen_error;

/**
 * What a model draws. The texts belong to the model and live until its last handle is freed.
 */
typedef struct galgen_model_info {
    /**
     * sizeof(galgen_model_info).
     */
    size_t struct_size;
    /**
     * Pixels along either side of a native stamp.
     */
    size_t side;
    /**
     * Bands of a stamp.
     */
    size_t bands;
    /**
     * Floats of a native stamp: bands x side x side.
     */
    size_t stamp_len;
    /**
     * Latent dimensions.
     */
    size_t latent;
    /**
     * Conditions that every object must give.
     */
    size_t conditions;
    /**
     * Semi-major half-light radius that stamps have in the galaxy frame, pixels (approximately: the
     * measured one is in galgen_drawn); 0 if the model draws plain images.
     */
    double half_light_radius;
    /**
     * Short name.
     */
    const char *name;
    /**
     * Hash of geometry, conditions and networks, 16 hexadecimal digits.
     */
    const char *fingerprint;
    /**
     * "intrinsic", or the point-spread function that is still in the stamps.
     */
    const char *psf;
    /**
     * Instructions that the kernels use: "scalar", "avx2+fma", "avx512", "neon".
     */
    const char *simd;
} galgen_model_info;

/**
 * One physical parameter that a model is asked for. The texts belong to the model.
 */
typedef struct galgen_condition {
    /**
     * sizeof(galgen_condition).
     */
    size_t struct_size;
    /**
     * As "axis_ratio".
     */
    const char *name;
    /**
     * Empty for a pure number.
     */
    const char *unit;
    /**
     * One sentence.
     */
    const char *description;
    /**
     * Over the training set.
     */
    double mean;
    /**
     * Standard deviation over the training set.
     */
    double deviation;
    /**
     * Smallest value of the training set.
     */
    double minimum;
    /**
     * Largest value of the training set.
     */
    double maximum;
    /**
     * Number of classes, whose names galgen_model_class gives and whose positions are the condition's
     * values; 0 for a condition that is a number.
     */
    size_t classes;
} galgen_condition;

/**
 * One galaxy to draw. Start from galgen_object_default().
 */
typedef struct galgen_object {
    /**
     * sizeof(galgen_object), the same in all elements of an array.
     */
    size_t struct_size;
    /**
     * With the seed it fixes every random number: the same galaxy in any batch, thread or order.
     */
    uint64_t id;
    /**
     * Arcsec before lensing, above 0. Default 1.
     */
    double half_light_radius;
    /**
     * Total flux before lensing, any linear unit: 0, or such that the lensed flux is within 1e-33 to 1e37. Default 1.
     */
    double flux;
    /**
     * Of the major axis before lensing, degrees counter-clockwise from +x towards +y. Default 0.
     */
    double position_angle;
    /**
     * Reduced shear g1, g2, |g| < 1 (GalSim's convention). Default 0.
     */
    double shear[2];
    /**
     * Magnification, above 0: area and flux grow by it. Default 1.
     */
    double magnification;
    /**
     * Galaxy's centre from the centre of the grid along x and y, arcsec; rendered stamps only. Default 0.
     */
    double offset[2];
    /**
     * A galgen_size_definition. Default GALGEN_SIZE_DEFINITION_CIRCULAR.
     */
    uint32_t size_definition;
    /**
     * How many of `conditions` are set: must be as many as the model has. Default 0.
     */
    uint32_t condition_count;
    /**
     * Physical values in the order of the model's conditions. Outside the trained range: drawn and flagged.
     */
    float conditions[GALGEN_MAX_CONDITIONS];
} galgen_object;

/**
 * What was drawn, beside the pixels. If `status` is not GALGEN_STATUS_OK, all numbers but the id are 0.
 */
typedef struct galgen_drawn {
    /**
     * sizeof(galgen_drawn). Set that of the first element of an array; the library sets the others.
     */
    size_t struct_size;
    /**
     * Of the object.
     */
    uint64_t id;
    /**
     * GALGEN_STATUS_OK, or why this object's stamp is empty.
     */
    enum galgen_status status;
    /**
     * Sum of GALGEN_FLAG_*: what is unusual about the request or the stamp.
     */
    uint32_t flags;
    /**
     * Side of a pixel of the stamp, arcsec. In the galaxy frame: before lensing.
     */
    double pixel_scale;
    /**
     * 2 x 2, row-major: from an offset in pixels of the galaxy frame to the sky in arcsec, with
     * rotation, shear and magnification.
     */
    double jacobian[4];
    /**
     * Of the drawn stamp, in pixels of the galaxy frame, by the requested definition.
     */
    double half_light_radius;
    /**
     * Of the lensed galaxy: requested flux times magnification.
     */
    double flux;
    /**
     * Share of `flux` inside the stamp, before noise; 1 for native stamps and in the galaxy frame.
     */
    double fraction_inside;
} galgen_drawn;

/**
 * The image that a galaxy is rendered on.
 */
typedef struct galgen_grid {
    /**
     * sizeof(galgen_grid).
     */
    size_t struct_size;
    /**
     * Pixels along x, 1 to 4096. Default 64.
     */
    size_t width;
    /**
     * Pixels along y, 1 to 4096. Default 64.
     */
    size_t height;
    /**
     * Side of a pixel in arcsec, above 0. Default 0.2.
     */
    double pixel_scale;
} galgen_grid;

/**
 * Point-spread function, of unit flux. Fields that the kind does not name are not read.
 */
typedef struct galgen_psf {
    /**
     * sizeof(galgen_psf).
     */
    size_t struct_size;
    /**
     * A galgen_psf_kind. Default GALGEN_PSF_KIND_NONE.
     */
    uint32_t kind;
    /**
     * Image: 0, a point source is seen at the middle of the image; 1, at the centroid of its light.
     */
    uint32_t centroid;
    /**
     * Full width at half maximum, arcsec, above 0. Default 0: must be set.
     */
    double fwhm;
    /**
     * Moffat: exponent of the wings, 1 < beta <= 100. Default 3.
     */
    double beta;
    /**
     * Image: row-major [image_height, image_width], 0 or more, any positive sum: it is normalised and copied.
     */
    const float *image;
    /**
     * Image: pixels along x.
     */
    size_t image_width;
    /**
     * Image: pixels along y.
     */
    size_t image_height;
    /**
     * Image: side of a pixel, arcsec, above 0. The pixel is part of the image and is deconvolved to
     * second order: a FWHM of 4 or more of these pixels is kept, one of 3 gets .5 % more variance, of 2 5 %.
     */
    double image_pixel_scale;
} galgen_psf;

/**
 * Noise of rendered stamps; its random numbers depend on seed and object id only.
 */
typedef struct galgen_noise {
    /**
     * sizeof(galgen_noise).
     */
    size_t struct_size;
    /**
     * Standard deviation of Gaussian noise per pixel, in the unit of flux; 0, the default: none.
     */
    double gaussian_sigma;
    /**
     * Electrons per unit of flux; 0, the default: no photon noise.
     */
    double gain;
    /**
     * Sky per pixel, in the unit of flux, for photon noise; its mean is subtracted again. Default 0.
     */
    double sky_level;
} galgen_noise;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * GALGEN_ABI_VERSION of the library. Any thread.
 */
uint32_t galgen_abi_version(void);

/**
 * GALGEN_ABI_REVISION of the library. Any thread.
 */
uint32_t galgen_abi_revision(void);

/**
 * Version of the library, as "0.1.0": a static string that the caller does not free. Any thread.
 */
const char *galgen_version(void);

/**
 * Whether a program built with a header of this ABI version and revision can use the library: the
 * version must be the same, the revision of the library the same or newer. Call it once, as
 * GALGEN_CHECK_ABI(&error). Any thread; `error` may be NULL.
 *
 * Returns GALGEN_STATUS_OK or GALGEN_STATUS_ABI.
 */
enum galgen_status galgen_abi_check(uint32_t version,
                                    uint32_t revision,
                                    struct galgen_error *error);

/**
 * An error struct without error, ready to be passed. Any thread.
 */
struct galgen_error galgen_error_default(void);

/**
 * Short name of a status, as "buffer too short": a static string that the caller does not free;
 * "unknown status" for a value that is none. Any thread.
 */
const char *galgen_status_text(int32_t status);

/**
 * An empty info, ready to be filled. Any thread.
 */
struct galgen_model_info galgen_model_info_default(void);

/**
 * An empty condition, ready to be filled. Any thread.
 */
struct galgen_condition galgen_condition_default(void);

/**
 * Loads a model file. `path` is in the encoding of the file system (UTF-8 on Windows). The environment
 * variable GALGEN_SIMD (scalar, avx2, avx512, neon) narrows the instructions that are used; results stay
 * the same. Any thread; `path` and `model` must not be NULL, `error` may be.
 *
 * `*model` is a handle that the caller gives to galgen_model_free; NULL on failure.
 * Fails with NULL, IO, MODEL_FILE, MODEL_NEWER, ARGUMENT.
 */
enum galgen_status galgen_model_open(const char *path,
                                     struct galgen_model **model,
                                     struct galgen_error *error);

/**
 * Loads a model from the `length` bytes of its file, which are copied and may be freed afterwards; any
 * alignment. Otherwise as galgen_model_open.
 */
enum galgen_status galgen_model_from_memory(const uint8_t *bytes,
                                            size_t length,
                                            struct galgen_model **model,
                                            struct galgen_error *error);

/**
 * Another handle of the same model, at no cost: each is freed once, in any order, on any thread.
 * NULL gives NULL.
 */
struct galgen_model *galgen_model_clone(const struct galgen_model *model);

/**
 * Frees a handle; NULL is allowed. Sessions of the model stay valid. Pointers to its texts are valid
 * until the last handle is freed.
 */
void galgen_model_free(struct galgen_model *model);

/**
 * Fills `*info`. Any thread; `model` and `info` must not be NULL, `error` may be.
 * On failure `*info` is unchanged. Fails with NULL, STRUCT_SIZE.
 */
enum galgen_status galgen_model_get_info(const struct galgen_model *model,
                                         struct galgen_model_info *info,
                                         struct galgen_error *error);

/**
 * The model's card as JSON text with a final zero byte, owned by the model. `length`, without the zero
 * byte, may be NULL. NULL model gives NULL and length 0. Any thread.
 */
const char *galgen_model_card(const struct galgen_model *model,
                              size_t *length);

/**
 * Name of band `index`, owned by the model; NULL if there is none or `model` is NULL. Any thread.
 */
const char *galgen_model_band(const struct galgen_model *model, size_t index);

/**
 * Fills `*condition` with condition `index` of the model. Any thread; `model` and `condition` must not be
 * NULL, `error` may be. On failure `*condition` is unchanged. Fails with NULL, STRUCT_SIZE, NOT_FOUND.
 */
enum galgen_status galgen_model_condition(const struct galgen_model *model,
                                          size_t index,
                                          struct galgen_condition *condition,
                                          struct galgen_error *error);

/**
 * Name of class `index` of condition `condition`: the condition's value `index` asks for it. Belongs to the
 * model; NULL if there is none, or `model` is NULL. Any thread.
 */
const char *galgen_model_class(const struct galgen_model *model,
                               size_t condition,
                               size_t index);

/**
 * Position of the condition called `name` in galgen_object.conditions. Any thread; only `error` may be
 * NULL. On failure `*index` is unchanged. Fails with NULL, NOT_FOUND.
 */
enum galgen_status galgen_model_find_condition(const struct galgen_model *model,
                                               const char *name,
                                               size_t *index,
                                               struct galgen_error *error);

/**
 * An object of id 0 with the defaults above, and no conditions. Any thread.
 */
struct galgen_object galgen_object_default(void);

/**
 * An empty result, ready to be the first of an array. Any thread.
 */
struct galgen_drawn galgen_drawn_default(void);

/**
 * Flux of an AB magnitude: 10^(-0.4 (magnitude - zero_point)). Any thread.
 */
double galgen_flux_from_magnitude(double magnitude, double zero_point);

/**
 * Concentration C = 5 log10(r80 / r20) of a Sersic profile of index n, for 0.3 <= n <= 8 within 0.02;
 * outside, that of the nearest end. Any thread.
 */
double galgen_concentration_from_sersic(double n);

/**
 * A grid with the defaults above. Any thread.
 */
struct galgen_grid galgen_grid_default(void);

/**
 * No point-spread function, with the defaults above. Any thread.
 */
struct galgen_psf galgen_psf_default(void);

/**
 * No noise. Any thread.
 */
struct galgen_noise galgen_noise_default(void);

/**
 * Bytes of memory that galgen_session_new takes for a session of `model`, in blocks of their final sizes (what the
 * system's allocator adds to blocks is not counted). Drawing and scoring take no more; galgen_session_set_grid
 * takes its own. 0 if `model` is NULL. Any thread.
 */
size_t galgen_model_session_size(const struct galgen_model *model);

/**
 * Makes a session of `model`, which it keeps alive. Any thread; `model` and `session` must not be NULL,
 * `error` may be.
 *
 * `*session` is owned by the caller, who gives it to galgen_session_free; NULL on failure. It may move
 * between threads. Fails with NULL.
 */
enum galgen_status galgen_session_new(const struct galgen_model *model,
                                      struct galgen_session **session,
                                      struct galgen_error *error);

/**
 * Frees a session; NULL is allowed. No other call may be using it.
 */
void galgen_session_free(struct galgen_session *session);

/**
 * Sets what galgen_session_sample_rendered draws on and through, and takes the memory for it: not for
 * every object. `psf` and `noise` may be NULL: none. All is copied. Exclusive use of `session`; `session`
 * and `grid` must not be NULL, `error` may be.
 *
 * On failure the session keeps the grid that it had. Fails with NULL, STRUCT_SIZE, ARGUMENT, TOO_LARGE; LENGTH for an
 * image of a point-spread function that no memory holds.
 */
enum galgen_status galgen_session_set_grid(struct galgen_session *session,
                                           const struct galgen_grid *grid,
                                           const struct galgen_psf *psf,
                                           const struct galgen_noise *noise,
                                           struct galgen_error *error);

/**
 * Draws `n` objects as native stamps: axes along the sky's, rotated, sheared and magnified, each with
 * a pixel scale of its own that keeps all of the light inside. For GalSim's InterpolatedImage and
 * photon shooting. Sum of a stamp = lensed flux, all pixels 0 or more.
 *
 * `stamps` is [n, bands, side, side] and has room for `stamps_len` floats, at least that many; the rest
 * is untouched. It must not overlap `objects`. `drawn` has `n` elements, or is NULL. Exclusive use of
 * `session`; `error` may be NULL, and `objects` and `stamps` if `n` is 0.
 *
 * Returns PARTIAL if objects cannot be drawn: their stamps are zero, their `status` says why, the
 * text names the first. Fails with NULL, STRUCT_SIZE, LENGTH before anything is written; after PANIC
 * stamps and drawn are unspecified.
 */
enum galgen_status galgen_session_sample_native(struct galgen_session *session,
                                                uint64_t seed,
                                                const struct galgen_object *objects,
                                                size_t n,
                                                float *stamps,
                                                size_t stamps_len,
                                                struct galgen_drawn *drawn,
                                                struct galgen_error *error);

/**
 * Draws `n` objects in the galaxy frame: the network's own pixels, major axis near x, nothing resampled;
 * the jacobian of galgen_drawn carries size, orientation, shear and magnification exactly. Otherwise as
 * galgen_session_sample_native.
 */
enum galgen_status galgen_session_sample_galaxy_frame(struct galgen_session *session,
                                                      uint64_t seed,
                                                      const struct galgen_object *objects,
                                                      size_t n,
                                                      float *stamps,
                                                      size_t stamps_len,
                                                      struct galgen_drawn *drawn,
                                                      struct galgen_error *error);

/**
 * Draws `n` objects on the grid of galgen_session_set_grid, each at its `offset` from the centre,
 * through the point-spread function, and adds the noise. `stamps` is [n, bands, height, width]. Light
 * beyond the border is lost: see fraction_inside. Also fails with NO_GRID; otherwise as
 * galgen_session_sample_native.
 */
enum galgen_status galgen_session_sample_rendered(struct galgen_session *session,
                                                  uint64_t seed,
                                                  const struct galgen_object *objects,
                                                  size_t n,
                                                  float *stamps,
                                                  size_t stamps_len,
                                                  struct galgen_drawn *drawn,
                                                  struct galgen_error *error);

/**
 * Sets the point-spread function of the stamps that galgen_session_encode and galgen_session_log_likelihood
 * get from now on, in the stamps' pixels. It matters to models trained with the point-spread function
 * inside, which draw galaxies as they are in front of the telescope; drawing is not affected.
 *
 * `psf` is [side, side], row-major, `side` odd and at most the stamp's, centred on ((side - 1) / 2,
 * (side - 1) / 2), with any positive sum. NULL with side 0 is none, as in a new session. All is copied.
 * Exclusive use of `session`; `error` may be NULL. Fails with NULL; ARGUMENT for a function that is not
 * as described, or a model whose stamps have their blur inside. A failure changes nothing.
 */
enum galgen_status galgen_session_set_stamp_psf(struct galgen_session *session,
                                                const float *psf,
                                                size_t side,
                                                struct galgen_error *error);

/**
 * Whether galgen_session_log_likelihood may use weights that were stored in 16 bits: 1 accepts them, 0, as in a new
 * session, refuses them (UNSUPPORTED) for flows, masked networks and PixelCNNs, whose ln p they change by about 0.01 (f16)
 * or 0.1 nats (bf16) at 64 dimensions, more for more. Other families do not care. It holds for
 * galgen_session_pixel_log_likelihoods, too.
 *
 * Exclusive use of `session`; `error` may be NULL. Fails with NULL; ARGUMENT for another number.
 */
enum galgen_status galgen_session_accept_half_precision(struct galgen_session *session,
                                                        uint32_t accept,
                                                        struct galgen_error *error);

/**
 * Lower bounds of ln p(stamp | conditions) in nats: the importance-weighted bound (Burda et al. 2016) with
 * `samples` >= 1 posterior draws of (seed, id), whose mean grows towards the truth with `samples`.
 *
 * `stamps` is [n, bands, side, side] in the galaxy frame, any positive sum; `stamps_len` its floats.
 * `conditions` is [n, conditions]. `sky` is the noise of a pixel for each stamp in the stamp's unit, 0 or
 * more, or NULL: that of a typical training stamp; models of other families than flow-VAE have learned it and take
 * NULL only. `ids` has `n` elements, or is NULL: 0, 1, 2 ...
 * `log_likelihoods` has `n` elements. `statuses` has `n` elements, or is NULL. The density is over the
 * pixels of the unit-sum stamp in the model's intensity unit, inside the stamp's circle. Of plain images, and of rows of
 * numbers (bands are columns, side 1), it is over the pixels as they are. A flow and a masked network give ln p
 * itself; `samples` then matters only for a card with grey levels: its pixels are k / (levels - 1), the density is that of
 * (k + u) / levels, of which ln of the mean over draws of u is taken, and ln P(k) is that less ln levels a pixel. The card of a
 * continuous flow may ask for an estimated trace ("hutchinson"): its ln p is an estimate with signs of (seed, id).
 *
 * Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if a stamp cannot be scored: its result
 * is NaN, its status says why. Fails with NULL, LENGTH before anything is written.
 */
enum galgen_status galgen_session_log_likelihood(struct galgen_session *session,
                                                 uint64_t seed,
                                                 uint32_t samples,
                                                 const float *stamps,
                                                 size_t stamps_len,
                                                 const float *conditions,
                                                 size_t conditions_len,
                                                 const double *sky,
                                                 const uint64_t *ids,
                                                 size_t n,
                                                 double *log_likelihoods,
                                                 enum galgen_status *statuses,
                                                 struct galgen_error *error);

/**
 * ln p(z | conditions) of latents under the model's prior, in nats: exact, or an estimate where the card asks for an
 * estimated trace of a continuous flow ("hutchinson").
 *
 * `latents` is [n, latent] of `latents_len` doubles, `conditions` [n, conditions], `log_probs` has `n`
 * elements, `statuses` `n` or is NULL. Otherwise as galgen_session_log_likelihood.
 */
enum galgen_status galgen_session_log_prob_latent(struct galgen_session *session,
                                                  const double *latents,
                                                  size_t latents_len,
                                                  const float *conditions,
                                                  size_t conditions_len,
                                                  size_t n,
                                                  double *log_probs,
                                                  enum galgen_status *statuses,
                                                  struct galgen_error *error);

/**
 * Posterior of the latent of each stamp: means and ln variances of independent Gaussians; minus infinity of a
 * plain autoencoder, a flow and a MADE, whose code is the mean. That of a flow is its noise: where it splits, the part that
 * goes on comes first, then what was split off last, and so on. That of a MADE are uniform numbers in (0, 1).
 *
 * `stamps` and `conditions` as for galgen_session_log_likelihood. `means` and `log_variances` are [n, latent],
 * with room for `latents_len` floats each, at least that many. `flags`, sums of GALGEN_FLAG_* of the
 * conditions, has `n` elements, or is NULL. `statuses` too.
 *
 * Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if a stamp cannot be encoded: its results
 * are NaN, its flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
 */
enum galgen_status galgen_session_encode(struct galgen_session *session,
                                         const float *stamps,
                                         size_t stamps_len,
                                         const float *conditions,
                                         size_t conditions_len,
                                         size_t n,
                                         float *means,
                                         float *log_variances,
                                         size_t latents_len,
                                         uint32_t *flags,
                                         enum galgen_status *statuses,
                                         struct galgen_error *error);

/**
 * Stamps of given latents, in the galaxy frame, each of unit sum; of plain images the mean of their pixels.
 *
 * `latents` is [n, latent] of `latents_len` floats, `conditions` [n, conditions]. `stamps` is
 * [n, bands, side, side] with room for `stamps_len` floats, at least that many. `flags` and `statuses` have `n`
 * elements each, or are NULL.
 *
 * Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if a latent cannot be decoded: its stamp
 * is zero, its flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
 */
enum galgen_status galgen_session_decode(struct galgen_session *session,
                                         const float *latents,
                                         size_t latents_len,
                                         const float *conditions,
                                         size_t conditions_len,
                                         size_t n,
                                         float *stamps,
                                         size_t stamps_len,
                                         uint32_t *flags,
                                         enum galgen_status *statuses,
                                         struct galgen_error *error);

/**
 * Draws `n` plain images, for models without a half_light_radius (others: UNSUPPORTED for each).
 *
 * `ids` has `n` elements, or is NULL: 0, 1, 2 ... `conditions` is [n, conditions]; a class is given by its position.
 * `pixels` is GALGEN_PIXELS_MEAN or GALGEN_PIXELS_DRAWN. `images` is [n, bands, side, side] with room for
 * `images_len` floats, at least that many, in the units of the training data. `flags` and `statuses` have `n`
 * elements each, or are NULL.
 *
 * Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if an image cannot be drawn: it is zero, its
 * flags 0, its status says why. Fails with NULL, LENGTH, ARGUMENT before anything is written.
 */
enum galgen_status galgen_session_sample_images(struct galgen_session *session,
                                                uint64_t seed,
                                                const uint64_t *ids,
                                                const float *conditions,
                                                size_t conditions_len,
                                                size_t n,
                                                uint32_t pixels,
                                                float *images,
                                                size_t images_len,
                                                uint32_t *flags,
                                                enum galgen_status *statuses,
                                                struct galgen_error *error);

/**
 * What the model makes of stamps: the stamp of the posterior's mean, with the sum of the given one if they are
 * galaxies. Of a model that takes a point-spread function it is the galaxy in front of it. Of an autoregressive model
 * it is the mean of each pixel given those of the stamp before it.
 *
 * `stamps` is [n, bands, side, side] of `stamps_len` floats, `conditions` [n, conditions]. `made` has room for as many
 * floats as `stamps`, `made_len`. `flags` and `statuses` have `n` elements each, or are NULL.
 *
 * Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if a stamp cannot be encoded or decoded: what is
 * made of it is zero, its flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
 */
enum galgen_status galgen_session_reconstruct(struct galgen_session *session,
                                              const float *stamps,
                                              size_t stamps_len,
                                              const float *conditions,
                                              size_t conditions_len,
                                              size_t n,
                                              float *made,
                                              size_t made_len,
                                              uint32_t *flags,
                                              enum galgen_status *statuses,
                                              struct galgen_error *error);

/**
 * Number of parameters of a pixel's distribution, see galgen_session_pixel_parameters; 0 for models that are not
 * autoregressive, and for NULL.
 */
size_t galgen_session_pixel_parameter_count(const struct galgen_session *session);

/**
 * ln p(pixel | pixels before it) of every pixel of `n` images, in nats, in reading order: of the probability of a
 * level, or of the density in the pixel's unit. Their sum is what galgen_session_log_likelihood gives. Exact. For
 * autoregressive models (others: UNSUPPORTED for each).
 *
 * `images` is [n, side, side] of `images_len` floats, `conditions` [n, conditions]. `maps` is [n, side, side] with room
 * for `maps_len` doubles, at least that many. `flags` and `statuses` have `n` elements each, or are NULL.
 *
 * Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if an image cannot be scored: its map is NaN, its
 * flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
 */
enum galgen_status galgen_session_pixel_log_likelihoods(struct galgen_session *session,
                                                        const float *images,
                                                        size_t images_len,
                                                        const float *conditions,
                                                        size_t conditions_len,
                                                        size_t n,
                                                        double *maps,
                                                        size_t maps_len,
                                                        uint32_t *flags,
                                                        enum galgen_status *statuses,
                                                        struct galgen_error *error);

/**
 * The parameters of every pixel's distribution given the pixels of the image before it. For autoregressive models
 * (others: UNSUPPORTED for each). By the head of the model (see `galgen inspect --json`, model.pixel_cnn.head):
 * bernoulli: the probability of 1; categorical: that of each level; gaussian: mean and standard deviation;
 * gaussian_mixture and discretised_logistic: all weights, all means, all scales of the components.
 *
 * `images` is [n, side, side] of `images_len` floats, `conditions` [n, conditions]. `parameters` is [n, count, side,
 * side], count that of galgen_session_pixel_parameter_count, with room for `parameters_len` floats, at least that
 * many. `flags` and `statuses` have `n` elements each, or are NULL.
 *
 * Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if an image cannot be looked at: its parameters are
 * NaN, its flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
 */
enum galgen_status galgen_session_pixel_parameters(struct galgen_session *session,
                                                   const float *images,
                                                   size_t images_len,
                                                   const float *conditions,
                                                   size_t conditions_len,
                                                   size_t n,
                                                   float *parameters,
                                                   size_t parameters_len,
                                                   uint32_t *flags,
                                                   enum galgen_status *statuses,
                                                   struct galgen_error *error);

/**
 * Completes `n` images: where `given` is not 0 the pixel is kept, every other is drawn given all pixels before it in
 * reading order. A given pixel after a drawn one does not change it. For autoregressive models (others: UNSUPPORTED for
 * each).
 *
 * `ids` has `n` elements, or is NULL: 0, 1, 2 ... `images` is [n, side, side] of `images_len` floats and `given` as many
 * bytes, `given_len`. `conditions` is [n, conditions]. `completed` has room for as many floats as `images`,
 * `completed_len`; it may not overlap them. `flags` and `statuses` have `n` elements each, or are NULL.
 *
 * Exclusive use of `session`; `error` may be NULL. Returns PARTIAL if an image cannot be completed: it is zero, its
 * flags 0, its status says why. Fails with NULL, LENGTH before anything is written.
 */
enum galgen_status galgen_session_complete(struct galgen_session *session,
                                           uint64_t seed,
                                           const uint64_t *ids,
                                           const float *images,
                                           size_t images_len,
                                           const uint8_t *given,
                                           size_t given_len,
                                           const float *conditions,
                                           size_t conditions_len,
                                           size_t n,
                                           float *completed,
                                           size_t completed_len,
                                           uint32_t *flags,
                                           enum galgen_status *statuses,
                                           struct galgen_error *error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* GALGEN_H */
