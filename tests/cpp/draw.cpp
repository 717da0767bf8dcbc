// The same as tests/c/draw.c through galgen.hpp, with std::thread: the hashes must be those of C.
#include "../c/scene.h"

#include <galgen.hpp>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>
#include <type_traits>

static_assert(!std::is_copy_constructible<galgen::Session>::value, "one owner");
static_assert(std::is_nothrow_move_constructible<galgen::Session>::value, "movable");
static_assert(std::is_copy_constructible<galgen::Model>::value, "shareable");

namespace {

int failures = 0;

void check(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "not so: %s\n", what);
        ++failures;
    }
}

template <class Body>
void throws(galgen::Status expected, const char *text, Body body) {
    try {
        body();
        check(false, text);
    } catch (const galgen::Error &error) {
        check(error.status() == expected, error.what());
        check(std::strstr(error.what(), text) != nullptr, error.what());
    }
}

using Objects = std::vector<galgen::Object>;
using Draw = std::function<galgen::Stamps(galgen::Session &, galgen::Span<galgen::Object>)>;

galgen::Session session(const galgen::Model &model) {
    galgen::Session result(model);
    result.set_grid(scene_grid(), galgen::moffat_psf(0.75, 2.5), galgen::noise(0.0625, 50.0, 0.25));
    return result;
}

galgen::Stamps draw(const char *name, const galgen::Model &model, const Objects &objects,
                    const Draw &body) {
    galgen::Session one = session(model);
    galgen::Stamps all = body(one, objects);
    std::vector<galgen::Stamps> parts(THREADS);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < THREADS; ++t) {
        threads.emplace_back([&, t] {
            const std::size_t first = t * OBJECTS / THREADS;
            const std::size_t count = (t + 1) * OBJECTS / THREADS - first;
            galgen::Session own = session(model);
            parts[t] = body(own, {objects.data() + first, count});
        });
    }
    for (std::thread &thread : threads) thread.join();
    std::vector<float> threaded;
    for (const galgen::Stamps &part : parts) {
        threaded.insert(threaded.end(), part.pixels.begin(), part.pixels.end());
    }
    check(threaded.size() == all.pixels.size() &&
              std::memcmp(threaded.data(), all.pixels.data(), 4 * threaded.size()) == 0,
          "four threads draw what one draws");
    for (std::size_t i = 0; i < all.size(); ++i) {
        std::printf("%s %u %016llx\n", name, static_cast<unsigned>(all.drawn[i].id),
                    static_cast<unsigned long long>(
                        scene_hash(all.stamp(i).data(), all.stamp_len())));
    }
    return all;
}

void score(const galgen::Model &model, const Objects &objects, const galgen::Stamps &stamps) {
    galgen::Session s(model);
    std::vector<float> conditions;
    std::vector<std::uint64_t> ids;
    for (const galgen::Object &object : objects) {
        conditions.insert(conditions.end(), object.conditions,
                          object.conditions + object.condition_count);
        ids.push_back(object.id);
    }
    const std::size_t n = objects.size();
    const std::vector<double> sky(n, 0.0625);
    const auto bounds = s.log_likelihood(SEED, 3, stamps.pixels, conditions, ids, sky);
    const auto codes = s.encode(stamps.pixels, conditions, n);
    const auto decoded = s.decode(codes.means, conditions, n);
    const std::vector<double> latents(codes.means.begin(), codes.means.end());
    const auto log_probs = s.log_prob_latent(latents, conditions, n);
    for (std::size_t i = 0; i < n; ++i) {
        const auto id = static_cast<unsigned>(ids[i]);
        const auto hash = [](const float *values, std::size_t count) {
            return static_cast<unsigned long long>(scene_hash(values, count));
        };
        std::printf("log_likelihood %u %.17g\n", id, bounds.values[i]);
        std::printf("log_prob_latent %u %.17g\n", id, log_probs.values[i]);
        std::printf("encode %u %016llx\n", id,
                    hash(codes.means.data() + i * model.latent(), model.latent()));
        std::printf("decode %u %016llx\n", id, hash(decoded.stamp(i).data(), decoded.stamp_len()));
    }
}

void errors(const galgen::Model &model) {
    throws(GALGEN_STATUS_IO, "no/such", [] { galgen::Model("no/such.safetensors"); });
    throws(GALGEN_STATUS_MODEL_FILE, "", [] { galgen::Model(nullptr, 0); });
    throws(GALGEN_STATUS_NOT_FOUND, "`colour`", [&] { model.find_condition("colour"); });
    throws(GALGEN_STATUS_NOT_FOUND, "condition 16", [&] { model.condition(16); });
    throws(GALGEN_STATUS_NOT_FOUND, "band", [&] { model.band(99); });
    galgen::Session s(model);
    const galgen::Object good = scene_object(model.get(), 0);
    throws(GALGEN_STATUS_NO_GRID, "set_grid", [&] { s.rendered(1, {good}); });
    throws(GALGEN_STATUS_ARGUMENT, "grid width", [&] { s.set_grid(galgen::grid(0, 4, 0.2)); });
    throws(GALGEN_STATUS_LENGTH, "PSF", [&] { galgen::image_psf({1.f, 2.f}, 3, 1, 0.2); });
    throws(GALGEN_STATUS_LENGTH, "conditions", [] { galgen::object(1, std::vector<float>(17)); });
    galgen::Object bad = good;
    bad.shear[0] = 1.0;
    const galgen::Stamps stamps = s.native(1, {good, bad});
    check(stamps.drawn[0].status == GALGEN_STATUS_OK, "the good object is drawn");
    check(stamps.drawn[1].status == GALGEN_STATUS_ARGUMENT, "the bad object has its status");

    galgen::Session moved = std::move(s);
    check(moved.native(1, {good}).pixels[0] == stamps.pixels[0], "a moved session draws");
    galgen::Model copy = model;
    galgen::Model other = std::move(copy);
    copy = other;
    check(copy.card() == model.card() && copy.name() == other.name(), "copies share the model");
}

}  // namespace

int main(int argc, char **argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: draw MODEL\n");
        return 2;
    }
    try {
        // From memory that is gone before anything is drawn.
        std::ifstream file(argv[1], std::ios::binary);
        std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
        const galgen::Model model(reinterpret_cast<const std::uint8_t *>(bytes.data()),
                                  bytes.size());
        std::vector<char>().swap(bytes);
        std::printf("# %s, %zu conditions, first: %s\n", model.name().c_str(),
                    model.condition_count(), model.condition(0).name.c_str());
        Objects objects;
        for (unsigned i = 0; i < OBJECTS; ++i) objects.push_back(scene_object(model.get(), i));
        draw("native", model, objects, [](galgen::Session &s, galgen::Span<galgen::Object> o) {
            return s.native(SEED, o);
        });
        const auto frame =
            draw("galaxy_frame", model, objects,
                 [](galgen::Session &s, galgen::Span<galgen::Object> o) {
                     return s.galaxy_frame(SEED, o);
                 });
        draw("rendered", model, objects, [](galgen::Session &s, galgen::Span<galgen::Object> o) {
            return s.rendered(SEED, o);
        });
        score(model, objects, frame);
        errors(model);
    } catch (const galgen::Error &error) {
        std::fprintf(stderr, "galgen: %s\n", error.what());
        return 1;
    }
    return failures != 0;
}
