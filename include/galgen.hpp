/* galgen for C++17: owners, exceptions and vectors around galgen.h, header-only. MIT OR Apache-2.0.
 *
 *     galgen::Model model("model.safetensors");
 *     galgen::Session session(model);
 *     auto galaxy = galgen::object(42, {0.6f, 3.1f});   // id; conditions in the model's order
 *     galaxy.half_light_radius = 0.8;                   // arcsec
 *     galgen::Stamps stamps = session.native(seed, {galaxy});
 *
 * Model is shareable: copies are handles of one model, and const members may run in any number of
 * threads at once. Session is move-only and for one thread at a time. Failures throw galgen::Error;
 * an object that cannot be drawn does not: its stamp is zero and its Drawn::status says why.
 * Units, conventions and lengths are those of galgen.h. */
#ifndef GALGEN_HPP
#define GALGEN_HPP

#include "galgen.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace galgen {

using Object = galgen_object;
using Drawn = galgen_drawn;
using Grid = galgen_grid;
using Psf = galgen_psf;
using Noise = galgen_noise;
using Status = galgen_status;

/** Why a call failed: what() is the library's sentence, status() its code. */
class Error : public std::runtime_error {
public:
    Error(Status status, const std::string &message)
        : std::runtime_error(message), status_(status) {}
    Status status() const noexcept { return status_; }

private:
    Status status_;
};

namespace detail {

/** Throws unless done, or done in part, which the caller finds in the statuses. */
inline void check(Status status, const galgen_error &error) {
    if (status == GALGEN_STATUS_OK || status == GALGEN_STATUS_PARTIAL) return;
    const bool told = error.message[0] != '\0';
    throw Error(status, told ? error.message : galgen_status_text(status));
}

/** Calls `function(arguments..., &error)` and checks. */
template <class Function, class... Arguments>
void call(Function function, Arguments... arguments) {
    galgen_error error = galgen_error_default();
    const Status status = function(arguments..., &error);
    check(status, error);
}

inline void check_abi() { call(galgen_abi_check, GALGEN_ABI_VERSION, GALGEN_ABI_REVISION); }

}  // namespace detail

/** Elements in a row that somebody else owns, as std::span of C++20. */
template <class T>
class Span {
public:
    Span() = default;
    Span(const T *data, std::size_t size) : data_(data), size_(size) {}
    Span(const std::vector<T> &values) : data_(values.data()), size_(values.size()) {}
    /** Lives as long as the full expression that makes it: for arguments only. */
    Span(std::initializer_list<T> values) : size_(values.size()) { data_ = values.begin(); }
    const T *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    const T *begin() const noexcept { return data_; }
    const T *end() const noexcept { return data_ + size_; }
    const T &operator[](std::size_t i) const noexcept { return data_[i]; }

private:
    const T *data_ = nullptr;
    std::size_t size_ = 0;
};

/** An object with the defaults of galgen_object_default, and conditions. */
inline Object object(std::uint64_t id, Span<float> conditions = {}) {
    if (conditions.size() > GALGEN_MAX_CONDITIONS) {
        throw Error(GALGEN_STATUS_LENGTH, "more conditions than GALGEN_MAX_CONDITIONS");
    }
    Object result = galgen_object_default();
    result.id = id;
    result.condition_count = static_cast<std::uint32_t>(conditions.size());
    for (std::size_t i = 0; i < conditions.size(); ++i) result.conditions[i] = conditions[i];
    return result;
}

inline Grid grid(std::size_t width, std::size_t height, double pixel_scale) {
    Grid result = galgen_grid_default();
    result.width = width;
    result.height = height;
    result.pixel_scale = pixel_scale;
    return result;
}

inline Psf gaussian_psf(double fwhm) {
    Psf result = galgen_psf_default();
    result.kind = GALGEN_PSF_KIND_GAUSSIAN;
    result.fwhm = fwhm;
    return result;
}

inline Psf moffat_psf(double fwhm, double beta) {
    Psf result = galgen_psf_default();
    result.kind = GALGEN_PSF_KIND_MOFFAT;
    result.fwhm = fwhm;
    result.beta = beta;
    return result;
}

/** `pixels` is row-major [height, width] and must live until Session::set_grid returns. */
inline Psf image_psf(Span<float> pixels, std::size_t width, std::size_t height,
                     double pixel_scale) {
    if (width == 0 || pixels.size() / width != height || pixels.size() % width != 0) {
        throw Error(GALGEN_STATUS_LENGTH, "PSF image: pixels are not width x height");
    }
    Psf result = galgen_psf_default();
    result.kind = GALGEN_PSF_KIND_IMAGE;
    result.image = pixels.data();
    result.image_width = width;
    result.image_height = height;
    result.image_pixel_scale = pixel_scale;
    return result;
}

/** `gain` 0: no photon noise. */
inline Noise noise(double gaussian_sigma, double gain = 0.0, double sky_level = 0.0) {
    Noise result = galgen_noise_default();
    result.gaussian_sigma = gaussian_sigma;
    result.gain = gain;
    result.sky_level = sky_level;
    return result;
}

/** One physical parameter that a model is asked for. */
struct Condition {
    std::string name, unit, description;
    double mean, deviation, minimum, maximum;
    std::vector<std::string> classes;  // empty for a number; else the condition's value is a position here
};

/** A loaded model. Copies share it. A Model that was moved from may only be assigned or destroyed. */
class Model {
public:
    /** Loads a model file. */
    explicit Model(const std::string &path) {
        detail::check_abi();
        galgen_model *model = nullptr;
        detail::call(galgen_model_open, path.c_str(), &model);
        adopt(model);
    }

    /** Loads a model from the bytes of its file, which may be freed afterwards. */
    Model(const std::uint8_t *bytes, std::size_t length) {
        detail::check_abi();
        galgen_model *model = nullptr;
        detail::call(galgen_model_from_memory, bytes, length, &model);
        adopt(model);
    }

    Model(const Model &other) : handle_(galgen_model_clone(other.get())), info_(other.info_) {}
    Model &operator=(const Model &other) { return *this = Model(other); }
    Model(Model &&) noexcept = default;
    Model &operator=(Model &&) noexcept = default;

    const galgen_model *get() const noexcept { return handle_.get(); }
    std::size_t side() const noexcept { return info_.side; }
    std::size_t bands() const noexcept { return info_.bands; }
    /** Floats of a native stamp. */
    std::size_t stamp_len() const noexcept { return info_.stamp_len; }
    std::size_t latent() const noexcept { return info_.latent; }
    std::size_t condition_count() const noexcept { return info_.conditions; }
    double half_light_radius() const noexcept { return info_.half_light_radius; }
    std::string name() const { return info_.name; }
    std::string fingerprint() const { return info_.fingerprint; }
    std::string psf() const { return info_.psf; }
    std::string simd() const { return info_.simd; }

    /** Bytes of memory that a Session of this model takes; drawing and scoring take no more. */
    std::size_t session_size() const noexcept { return galgen_model_session_size(get()); }

    /** The card, JSON. */
    std::string card() const {
        std::size_t length = 0;
        const char *json = galgen_model_card(get(), &length);
        return std::string(json, length);
    }

    std::string band(std::size_t index) const {
        const char *name = galgen_model_band(get(), index);
        if (name == nullptr) throw Error(GALGEN_STATUS_NOT_FOUND, "no band of this index");
        return name;
    }

    Condition condition(std::size_t index) const {
        galgen_condition c = galgen_condition_default();
        detail::call(galgen_model_condition, get(), index, &c);
        Condition result{c.name, c.unit, c.description, c.mean, c.deviation, c.minimum, c.maximum, {}};
        for (std::size_t i = 0; i < c.classes; ++i) {
            result.classes.push_back(galgen_model_class(get(), index, i));
        }
        return result;
    }

    /** Position of a condition in an object's conditions. */
    std::size_t find_condition(const std::string &name) const {
        std::size_t index = 0;
        detail::call(galgen_model_find_condition, get(), name.c_str(), &index);
        return index;
    }

private:
    struct Free {
        void operator()(galgen_model *model) const noexcept { galgen_model_free(model); }
    };

    void adopt(galgen_model *model) {
        handle_.reset(model);
        info_ = galgen_model_info_default();
        detail::call(galgen_model_get_info, get(), &info_);
    }

    std::unique_ptr<galgen_model, Free> handle_;
    galgen_model_info info_{};
};

/** Stamps in a row, and what was drawn. */
struct Stamps {
    std::size_t bands = 0, height = 0, width = 0;
    std::vector<float> pixels;  // [n, bands, height, width]
    std::vector<Drawn> drawn;   // [n]

    std::size_t size() const noexcept { return drawn.size(); }
    std::size_t stamp_len() const noexcept { return bands * height * width; }
    /** Pixels of stamp `i`; valid as long as this. */
    Span<float> stamp(std::size_t i) const {
        return {pixels.data() + i * stamp_len(), stamp_len()};
    }
};

/** Numbers per element, and their statuses. */
struct Scores {
    std::vector<double> values;  // NaN where the status is not OK
    std::vector<Status> statuses;
};

/** Posteriors of latents: independent Gaussians. */
struct Codes {
    std::vector<float> means, log_variances;  // [n, latent]
    std::vector<std::uint32_t> flags;
    std::vector<Status> statuses;
};

/** Draws and scores with one model; keeps it alive. */
class Session {
public:
    explicit Session(const Model &model)
        : side_(model.side()), bands_(model.bands()), latent_(model.latent()) {
        galgen_session *session = nullptr;
        detail::call(galgen_session_new, model.get(), &session);
        handle_.reset(session);
    }

    galgen_session *get() noexcept { return handle_.get(); }

    /** What rendered() draws on and through. On failure the old grid stays. */
    void set_grid(const Grid &grid, const Psf &psf = galgen_psf_default(),
                  const Noise &noise = galgen_noise_default()) {
        detail::call(galgen_session_set_grid, get(), &grid, &psf, &noise);
        width_ = grid.width;
        height_ = grid.height;
    }

    /** Native stamps: galgen_session_sample_native. */
    Stamps native(std::uint64_t seed, Span<Object> objects) {
        return draw(galgen_session_sample_native, seed, objects, side_, side_);
    }

    /** Stamps in the galaxy frame: galgen_session_sample_galaxy_frame. */
    Stamps galaxy_frame(std::uint64_t seed, Span<Object> objects) {
        return draw(galgen_session_sample_galaxy_frame, seed, objects, side_, side_);
    }

    /** Stamps on the grid of set_grid: galgen_session_sample_rendered. */
    Stamps rendered(std::uint64_t seed, Span<Object> objects) {
        return draw(galgen_session_sample_rendered, seed, objects, height_, width_);
    }

    /** Point-spread function of the stamps scored from now on, `side * side` values; none if empty:
     *  galgen_session_set_stamp_psf. */
    void stamp_psf(Span<float> psf, std::size_t side) {
        if (psf.size() != side * side) {
            throw Error(GALGEN_STATUS_LENGTH, "psf has not side * side elements");
        }
        detail::call(galgen_session_set_stamp_psf, get(), psf.data(), side);
    }

    /** Whether weights of 16 bits are good enough for likelihoods: galgen_session_accept_half_precision. */
    void accept_half_precision(bool accept) {
        detail::call(galgen_session_accept_half_precision, get(), accept ? 1u : 0u);
    }

    /** Lower bounds of ln p(stamp | conditions): galgen_session_log_likelihood. `n` is the length of
     *  `ids`; `sky` has as many elements, or none. */
    Scores log_likelihood(std::uint64_t seed, std::uint32_t samples, Span<float> stamps,
                          Span<float> conditions, Span<std::uint64_t> ids,
                          Span<double> sky = {}) {
        const std::size_t n = ids.size();
        if (sky.size() != 0 && sky.size() != n) {
            throw Error(GALGEN_STATUS_LENGTH, "sky has not as many elements as ids");
        }
        Scores scores = make_scores(n);
        detail::call(galgen_session_log_likelihood, get(), seed, samples, stamps.data(),
                     stamps.size(), conditions.data(), conditions.size(),
                     sky.size() == 0 ? nullptr : sky.data(), ids.data(), n, scores.values.data(),
                     scores.statuses.data());
        return scores;
    }

    /** ln p(z | conditions) of `n` latents: galgen_session_log_prob_latent. */
    Scores log_prob_latent(Span<double> latents, Span<float> conditions, std::size_t n) {
        Scores scores = make_scores(n);
        detail::call(galgen_session_log_prob_latent, get(), latents.data(), latents.size(),
                     conditions.data(), conditions.size(), n, scores.values.data(),
                     scores.statuses.data());
        return scores;
    }

    /** Posteriors of `n` stamps: galgen_session_encode. */
    Codes encode(Span<float> stamps, Span<float> conditions, std::size_t n) {
        Codes codes{std::vector<float>(n * latent_), std::vector<float>(n * latent_),
                    std::vector<std::uint32_t>(n), std::vector<Status>(n)};
        detail::call(galgen_session_encode, get(), stamps.data(), stamps.size(),
                     conditions.data(), conditions.size(), n, codes.means.data(),
                     codes.log_variances.data(), codes.means.size(), codes.flags.data(),
                     codes.statuses.data());
        return codes;
    }

    /** Unit-sum stamps of `n` latents: galgen_session_decode; of `drawn` status and flags are set. */
    Stamps decode(Span<float> latents, Span<float> conditions, std::size_t n) {
        Stamps result = make_stamps(n, side_, side_);
        std::vector<std::uint32_t> flags(n);
        std::vector<Status> statuses(n);
        detail::call(galgen_session_decode, get(), latents.data(), latents.size(),
                     conditions.data(), conditions.size(), n, result.pixels.data(),
                     result.pixels.size(), flags.data(), statuses.data());
        note(result, flags, statuses);
        return result;
    }

    /** Plain images of `ids`: galgen_session_sample_images; of `drawn` status and flags are set. */
    Stamps images(std::uint64_t seed, Span<std::uint64_t> ids, Span<float> conditions,
                  std::uint32_t pixels = GALGEN_PIXELS_MEAN) {
        const std::size_t n = ids.size();
        Stamps result = make_stamps(n, side_, side_);
        std::vector<std::uint32_t> flags(n);
        std::vector<Status> statuses(n);
        detail::call(galgen_session_sample_images, get(), seed, ids.data(), conditions.data(),
                     conditions.size(), n, pixels, result.pixels.data(), result.pixels.size(),
                     flags.data(), statuses.data());
        note(result, flags, statuses);
        return result;
    }

    /** What the model makes of `n` stamps: galgen_session_reconstruct; of `drawn` status and flags are set. */
    Stamps reconstruct(Span<float> stamps, Span<float> conditions, std::size_t n) {
        Stamps result = make_stamps(n, side_, side_);
        std::vector<std::uint32_t> flags(n);
        std::vector<Status> statuses(n);
        detail::call(galgen_session_reconstruct, get(), stamps.data(), stamps.size(),
                     conditions.data(), conditions.size(), n, result.pixels.data(),
                     result.pixels.size(), flags.data(), statuses.data());
        note(result, flags, statuses);
        return result;
    }

    /** ln p of every pixel of `n` images, [n, side, side]: galgen_session_pixel_log_likelihoods. */
    Scores pixel_log_likelihoods(Span<float> images, Span<float> conditions, std::size_t n) {
        Scores maps{std::vector<double>(n * side_ * side_), std::vector<Status>(n)};
        detail::call(galgen_session_pixel_log_likelihoods, get(), images.data(), images.size(),
                     conditions.data(), conditions.size(), n, maps.values.data(),
                     maps.values.size(), nullptr, maps.statuses.data());
        return maps;
    }

    /** Parameters of every pixel of `n` images, [n, count, side, side]: galgen_session_pixel_parameters. */
    std::vector<float> pixel_parameters(Span<float> images, Span<float> conditions, std::size_t n) {
        const std::size_t count = galgen_session_pixel_parameter_count(get());
        std::vector<float> parameters(n * count * side_ * side_);
        detail::call(galgen_session_pixel_parameters, get(), images.data(), images.size(),
                     conditions.data(), conditions.size(), n, parameters.data(), parameters.size(),
                     nullptr, nullptr);
        return parameters;
    }

    /** Images of `ids` completed where `given` is 0: galgen_session_complete; of `drawn` status and flags are set. */
    Stamps complete(std::uint64_t seed, Span<std::uint64_t> ids, Span<float> images,
                    Span<std::uint8_t> given, Span<float> conditions) {
        const std::size_t n = ids.size();
        Stamps result = make_stamps(n, side_, side_);
        std::vector<std::uint32_t> flags(n);
        std::vector<Status> statuses(n);
        detail::call(galgen_session_complete, get(), seed, ids.data(), images.data(), images.size(),
                     given.data(), given.size(), conditions.data(), conditions.size(), n,
                     result.pixels.data(), result.pixels.size(), flags.data(), statuses.data());
        note(result, flags, statuses);
        return result;
    }

private:
    struct Free {
        void operator()(galgen_session *session) const noexcept { galgen_session_free(session); }
    };

    static void note(Stamps &stamps, const std::vector<std::uint32_t> &flags,
                     const std::vector<Status> &statuses) {
        for (std::size_t i = 0; i < flags.size(); ++i) {
            stamps.drawn[i].flags = flags[i];
            stamps.drawn[i].status = statuses[i];
        }
    }

    static Scores make_scores(std::size_t n) {
        return {std::vector<double>(n), std::vector<Status>(n)};
    }

    Stamps make_stamps(std::size_t n, std::size_t height, std::size_t width) const {
        Stamps result{bands_, height, width, {}, {}};
        result.pixels.resize(n * result.stamp_len());
        result.drawn.assign(n, galgen_drawn_default());
        return result;
    }

    template <class Sample>
    Stamps draw(Sample sample, std::uint64_t seed, Span<Object> objects, std::size_t height,
                std::size_t width) {
        Stamps result = make_stamps(objects.size(), height, width);
        detail::call(sample, get(), seed, objects.data(), objects.size(), result.pixels.data(),
                     result.pixels.size(), result.drawn.data());
        return result;
    }

    std::unique_ptr<galgen_session, Free> handle_;
    std::size_t side_, bands_, latent_;
    std::size_t width_ = 0, height_ = 0;
};

}  // namespace galgen

#endif  /* GALGEN_HPP */
