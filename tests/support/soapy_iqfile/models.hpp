// What the devices that are imitated can do: rates, gains, antennas and settings, as their drivers list them.
#pragma once

#include <SoapySDR/Formats.hpp>
#include <SoapySDR/Types.hpp>
#include <string>
#include <utility>
#include <vector>

namespace iqfile {

struct Model
{
    std::string native;                 // what the hardware gives
    std::vector<double> rates;          // listSampleRates
    SoapySDR::RangeList rate_ranges;    // getSampleRateRange
    std::vector<std::pair<std::string, SoapySDR::Range>> gains;
    bool has_agc;
    bool has_correction;
    std::vector<std::string> antennas;
    SoapySDR::RangeList frequencies;
    std::vector<double> bandwidths;
    std::vector<std::string> settings;
    bool has_buffer_args;               // takes the stream arguments bufflen and buffers; others throw on them
    size_t buffer_bytes;
    size_t buffers;
};

inline SoapySDR::RangeList points(const std::vector<double> &values)
{
    SoapySDR::RangeList ranges;
    for (const double value : values) ranges.push_back(SoapySDR::Range(value, value));
    return ranges;
}

inline Model model_of(const std::string &name)
{
    using SoapySDR::Range;
    if (name == "rtl")
        return {SOAPY_SDR_CU8, {250e3, 1.024e6, 1.92e6, 2.048e6, 2.4e6, 2.56e6, 3.2e6},
            {Range(225001, 300000), Range(900001, 3200000)}, {{"TUNER", Range(0, 49.6)}}, true, true, {"RX"},
            {Range(24e6, 1764e6)}, {}, {"biastee", "digital_agc", "offset_tune"}, true, 262144, 15};
    if (name == "airspy_r2" || name == "airspy_mini")
    {
        const std::vector<double> rates = name == "airspy_r2" ? std::vector<double>{2.5e6, 10e6} : std::vector<double>{3e6, 6e6};
        return {SOAPY_SDR_CS16, rates, points(rates),
            {{"LNA", Range(0, 15, 1)}, {"MIX", Range(0, 15, 1)}, {"VGA", Range(0, 15, 1)}}, true, false, {"RX"},
            {Range(24e6, 1800e6)}, {}, {"biastee", "bitpack"}, false, 262144, 16};
    }
    if (name == "plain") // lists nothing but gain and frequency, and has no automatic gain
        return {SOAPY_SDR_CF32, {}, {}, {{"TUNER", Range(0, 50, 1)}}, false, false, {}, {Range(0, 6e9)}, {}, {}, false, 262144, 16};
    const std::vector<double> rates = {250e3, 1e6, 2.4e6, 2.5e6, 10e6};
    return {SOAPY_SDR_CF32, rates, points(rates), {{"LNA", Range(0, 30, 1)}, {"VGA", Range(0, 20, 1)}}, true, true,
        {"RX1", "RX2"}, {Range(100e3, 1e9), Range(1.2e9, 6e9)}, {200e3, 1.5e6, 8e6}, {"biastee", "bitpack", "notch"}, true,
        262144, 15};
}

} // namespace iqfile
