// The samples of one open device: a file or a counter, paced by the clock, with a driver's bounded buffers.
//
// The counter is written in the native format, low bits first, so that every sample says its own number: CU8 I is bits
// 0-7 and Q bits 8-15; CS16 I is bits 0-15 and Q bits 16-31; CF32 I is bits 0-14 and Q bits 15-29, each over 32768.
// Full scale is 1: CU8 is (value - 127.5) / 127.5, CS16 is value / 32768.
#pragma once

#include <SoapySDR/Constants.h>
#include <SoapySDR/Errors.h>
#include <SoapySDR/Formats.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace iqfile {

using Clock = std::chrono::steady_clock;

inline float float_of(const uint8_t value) { return (float(value) - 127.5f) / 127.5f; }
inline float float_of(const int16_t value) { return float(value) * (1.0f / 32768.0f); }
inline float float_of(const float value) { return value; }

template <typename Native> void count_into(Native *to, uint64_t first, size_t n, int bits, Native scale)
{
    const uint64_t mask = (uint64_t(1) << bits) - 1;
    for (size_t i = 0; i < n; i++)
    {
        to[2 * i] = Native((first + i) & mask) * scale;
        to[2 * i + 1] = Native(((first + i) >> bits) & mask) * scale;
    }
}

class SampleStream
{
public:
    std::string native;
    bool convert = false;         // CF32 is asked for, and the native format is another
    size_t block = 1;             // samples that come at once
    size_t depth = 1;             // samples that the driver keeps for a reader that is late
    bool paced = true;
    bool has_time = true;
    double rate = 1.0;

    size_t native_size() const { return native == SOAPY_SDR_CU8 ? 2 : native == SOAPY_SDR_CS16 ? 4 : 8; }

    void load(const std::string &path)
    {
        std::ifstream stream(path, std::ios::binary);
        _file.assign(std::istreambuf_iterator<char>(stream), {});
        _file.resize(_file.size() / native_size() * native_size());
        if (_file.empty()) throw std::runtime_error("iqfile: no samples in " + path);
    }

    void start()
    {
        _position = 0;
        _start = Clock::now();
    }

    void skip(uint64_t n) { _position += n; }

    // The reader was held up by the device itself: its time stands still meanwhile.
    int read(void *to, size_t n, int &flags, long long &time_ns, long timeout_us)
    {
        const auto deadline = Clock::now() + std::chrono::microseconds(timeout_us);
        const uint64_t block_end = (_position / block + 1) * block;
        if (paced)
        {
            const auto due = _start + std::chrono::nanoseconds(int64_t(double(block_end) / rate * 1e9));
            if (due > deadline)
            {
                std::this_thread::sleep_until(deadline);
                return SOAPY_SDR_TIMEOUT;
            }
            std::this_thread::sleep_until(due);
            const double produced = std::chrono::duration<double>(Clock::now() - _start).count() * rate;
            if (produced > double(_position) + double(depth) + double(block))
            {
                // As a driver's full queue: everything that waits is thrown away.
                _position = uint64_t(produced) / block * block;
                return SOAPY_SDR_OVERFLOW;
            }
        }
        n = std::min<uint64_t>(n, block_end - _position);
        if (has_time)
        {
            flags |= SOAPY_SDR_HAS_TIME;
            time_ns = (long long)(double(_position) * 1e9 / rate);
        }
        if (native == SOAPY_SDR_CU8) fill<uint8_t>(to, n, 8, 1);
        else if (native == SOAPY_SDR_CS16) fill<int16_t>(to, n, 16, 1);
        else fill<float>(to, n, 15, 1.0f / 32768.0f);
        _position += n;
        return int(n);
    }

private:
    template <typename Native> void fill(void *to, size_t n, int bits, Native scale)
    {
        Native *native_samples = static_cast<Native *>(to);
        if (convert)
        {
            _scratch.resize(n * native_size());
            native_samples = reinterpret_cast<Native *>(_scratch.data());
        }
        if (_file.empty()) count_into<Native>(native_samples, _position, n, bits, scale);
        else copy_file(reinterpret_cast<char *>(native_samples), n);
        if (!convert) return;
        float *floats = static_cast<float *>(to);
        for (size_t i = 0; i < 2 * n; i++) floats[i] = float_of(native_samples[i]);
    }

    void copy_file(char *to, size_t n)
    {
        const size_t length = _file.size() / native_size();
        for (size_t done = 0; done < n;)
        {
            const size_t from = (_position + done) % length;
            const size_t part = std::min(n - done, length - from);
            std::memcpy(to + done * native_size(), _file.data() + from * native_size(), part * native_size());
            done += part;
        }
    }

    std::vector<char> _file;
    std::vector<char> _scratch;
    uint64_t _position = 0;
    Clock::time_point _start;
};

} // namespace iqfile
