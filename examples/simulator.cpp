// Two galaxies in a small image simulator: a sky of 256 x 256 pixels through a Moffat PSF.
// Build the library first (cargo build --release -p galgen-ffi), then:
//   c++ -std=c++17 -Iinclude examples/simulator.cpp target/release/libgalgen.a -lpthread -ldl -lm -o simulator
//   ./simulator models/default.safetensors
#include <galgen.hpp>

#include <cstdio>
#include <exception>
#include <vector>

int main(int argc, char **argv) try {
    galgen::Model model(argc > 1 ? argv[1] : "models/default.safetensors");
    galgen::Session session(model);  // one per thread
    const std::size_t n = 256, stamp = 64;
    const double scale = 0.2;  // arcsec per pixel
    session.set_grid(galgen::grid(stamp, stamp, scale), galgen::moffat_psf(0.7, 3.5));

    std::vector<float> sky(n * n);
    struct Entry { std::uint64_t id; double x, y, mag, size, pa; float axis_ratio, sersic; };
    for (const Entry &e : {Entry{1001, 80.3, 120.7, 20.5, 0.9, 30, 0.45f, 1.0f},
                           Entry{1002, 170.9, 90.1, 21.5, 0.6, 110, 0.80f, 2.5f}}) {
        const float concentration = float(galgen_concentration_from_sersic(e.sersic));
        auto galaxy = galgen::object(e.id, {e.axis_ratio, concentration});
        galaxy.flux = galgen_flux_from_magnitude(e.mag, 26.0);
        galaxy.half_light_radius = e.size;  // arcsec
        galaxy.position_angle = e.pa;       // degrees from +x
        const std::size_t left = std::size_t(e.x) - stamp / 2, low = std::size_t(e.y) - stamp / 2;
        const double centre = (stamp - 1) / 2.0;  // of the stamp, in its pixels
        galaxy.offset[0] = (e.x - double(left) - centre) * scale;
        galaxy.offset[1] = (e.y - double(low) - centre) * scale;
        const auto drawn = session.rendered(/* seed */ 0, {galaxy});
        for (std::size_t i = 0; i < drawn.pixels.size(); ++i)
            sky[(low + i / stamp) * n + left + i % stamp] += drawn.pixels[i];
        std::printf("%llu: flux %.1f, %.4f of it inside\n", (unsigned long long)e.id,
                    drawn.drawn[0].flux, drawn.drawn[0].fraction_inside);
    }
    double sum = 0;
    for (float pixel : sky) sum += pixel;
    std::printf("flux on the sky: %.1f\n", sum);
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
