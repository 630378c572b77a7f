// A SoapySDR driver that plays a file or a counter, and fails when it is told to: the device of Herald's tests.
//
// Arguments of a device: driver=iqfile, and
//
//   serial=...         which one (see control.hpp for the list)
//   path=FILE          raw samples in the native format, played in a loop; without it a counter (see stream.hpp)
//   native=CU8|CS16|CF32   instead of the model's own native format
//   pace=1             0: as fast as it is read
//   time=1             0: samples carry no time
//   rates=throw        what becomes of an illegal rate: throw, or snap to the nearest legal one in silence; off: a legal
//                      one is taken 10 % too low
//   buffers=take       refuse: the stream's arguments are listed, and setupStream throws on them
//
// SPDX-License-Identifier: GPL-3.0-or-later
#include "control.hpp"
#include "models.hpp"
#include "stream.hpp"
#include <SoapySDR/Device.hpp>
#include <SoapySDR/Logger.hpp>
#include <SoapySDR/Registry.hpp>
#include <cmath>
#include <map>

using namespace iqfile;

static const std::map<std::string, int> CODES = {{"TIMEOUT", SOAPY_SDR_TIMEOUT}, {"STREAM_ERROR", SOAPY_SDR_STREAM_ERROR},
    {"CORRUPTION", SOAPY_SDR_CORRUPTION}, {"OVERFLOW", SOAPY_SDR_OVERFLOW}, {"NOT_SUPPORTED", SOAPY_SDR_NOT_SUPPORTED},
    {"TIME_ERROR", SOAPY_SDR_TIME_ERROR}, {"UNDERFLOW", SOAPY_SDR_UNDERFLOW}};

class IqFileDevice : public SoapySDR::Device
{
public:
    explicit IqFileDevice(const SoapySDR::Kwargs &args)
        : _serial(value_of(args, "serial", "")), _words(Control::instance().device(_serial)),
          _model_name(value_of(_words, "model", "generic")), _model(model_of(_model_name)),
          _generation(value_of(_words, "generation", "0")), _rates(value_of(args, "rates", "throw")),
          _refuses_buffers(!_model.has_buffer_args || value_of(args, "buffers", "take") == "refuse")
    {
        _samples.native = value_of(args, "native", _model.native);
        _samples.paced = value_of(args, "pace", "1") != "0";
        _samples.has_time = value_of(args, "time", "1") != "0";
        _rate = _model.rates.empty() ? 1e6 : _model.rates.front();
        if (args.count("path") != 0) _samples.load(args.at("path"));
        for (const auto &gain : _model.gains) _gains[gain.first] = gain.second.minimum();
        // What was asked of the last one that was open is done with.
        _injected = injection_number(value_of(_words, "inject", ""));
        note("make " + _serial);
    }

    ~IqFileDevice() override { note("unmake " + _serial); }

    std::string getDriverKey() const override { return "iqfile"; }
    std::string getHardwareKey() const override { return _model_name; }
    SoapySDR::Kwargs getHardwareInfo() const override { return {{"serial", _serial}, {"model", _model_name}}; }
    size_t getNumChannels(const int direction) const override { return direction == SOAPY_SDR_RX ? 1 : 0; }

    // Rates, gains, antennas, frequencies ----------------------------------------------------------------------------

    std::vector<double> listSampleRates(const int, const size_t) const override { return _model.rates; }
    SoapySDR::RangeList getSampleRateRange(const int, const size_t) const override { return _model.rate_ranges; }
    double getSampleRate(const int, const size_t) const override { return _rate; }

    void setSampleRate(const int, const size_t, const double rate) override
    {
        check_alive();
        note("setSampleRate " + std::to_string(rate));
        bool legal = _model.rates.empty();
        for (const auto &range : _model.rate_ranges) legal |= rate >= range.minimum() && rate <= range.maximum();
        if (!legal && _rates != "snap") throw std::runtime_error("iqfile: setSampleRate(" + std::to_string(rate) + ") failed");
        _rate = _rates == "off" ? 0.9 * rate : rate;
        if (legal) return;
        for (const double listed : _model.rates)
            if (std::abs(listed - rate) < std::abs(_rate - rate) || _rate == rate) _rate = listed;
    }

    std::vector<double> listBandwidths(const int, const size_t) const override { return _model.bandwidths; }
    void setBandwidth(const int, const size_t, const double bandwidth) override { note("setBandwidth " + std::to_string(bandwidth)); }

    std::vector<std::string> listGains(const int, const size_t) const override
    {
        std::vector<std::string> names;
        for (const auto &gain : _model.gains) names.push_back(gain.first);
        return names;
    }

    bool hasGainMode(const int, const size_t) const override { return _model.has_agc; }
    bool getGainMode(const int, const size_t) const override { return _automatic; }

    void setGainMode(const int, const size_t, const bool automatic) override
    {
        note(std::string("setGainMode ") + (automatic ? "1" : "0"));
        _automatic = automatic;
    }

    SoapySDR::Range getGainRange(const int, const size_t, const std::string &name) const override
    {
        for (const auto &gain : _model.gains)
            if (gain.first == name) return gain.second;
        throw std::runtime_error("iqfile: no gain " + name);
    }

    using SoapySDR::Device::getGain;
    using SoapySDR::Device::getGainRange;
    using SoapySDR::Device::setGain;

    void setGain(const int, const size_t, const std::string &name, const double value) override
    {
        check_alive();
        note("setGain " + name + " " + std::to_string(value));
        _gains[name] = value;
    }

    double getGain(const int, const size_t, const std::string &name) const override { return _gains.at(name); }

    std::vector<std::string> listAntennas(const int, const size_t) const override { return _model.antennas; }
    void setAntenna(const int, const size_t, const std::string &name) override { note("setAntenna " + name); }

    std::vector<std::string> listFrequencies(const int, const size_t) const override { return {"RF"}; }

    SoapySDR::RangeList getFrequencyRange(const int, const size_t, const std::string &) const override
    {
        return _model.frequencies;
    }

    SoapySDR::RangeList getFrequencyRange(const int, const size_t) const override { return _model.frequencies; }

    void setFrequency(const int direction, const size_t channel, const double frequency, const SoapySDR::Kwargs &args) override
    {
        setFrequency(direction, channel, "RF", frequency, args);
    }

    void setFrequency(const int, const size_t, const std::string &, const double frequency, const SoapySDR::Kwargs &) override
    {
        check_alive();
        note("setFrequency " + std::to_string(frequency));
        _frequency = frequency;
    }

    double getFrequency(const int, const size_t, const std::string &) const override { return _frequency; }
    double getFrequency(const int, const size_t) const override { return _frequency; }

    bool hasFrequencyCorrection(const int, const size_t) const override { return _model.has_correction; }
    void setFrequencyCorrection(const int, const size_t, const double ppm) override { note("setFrequencyCorrection " + std::to_string(ppm)); }

    SoapySDR::ArgInfoList getSettingInfo() const override
    {
        SoapySDR::ArgInfoList settings;
        for (const auto &key : _model.settings)
        {
            SoapySDR::ArgInfo setting;
            setting.key = key;
            setting.value = "false";
            setting.type = SoapySDR::ArgInfo::BOOL;
            settings.push_back(setting);
        }
        return settings;
    }

    using SoapySDR::Device::getSettingInfo;
    using SoapySDR::Device::writeSetting;

    void writeSetting(const std::string &key, const std::string &value) override { note("writeSetting " + key + " " + value); }

    // Stream ---------------------------------------------------------------------------------------------------------

    std::vector<std::string> getStreamFormats(const int, const size_t) const override
    {
        std::vector<std::string> formats = {SOAPY_SDR_CF32};
        if (_samples.native != SOAPY_SDR_CF32) formats.push_back(_samples.native);
        return formats;
    }

    std::string getNativeStreamFormat(const int, const size_t, double &full_scale) const override
    {
        full_scale = _samples.native == SOAPY_SDR_CU8 ? 127.5 : _samples.native == SOAPY_SDR_CS16 ? 32768 : 1;
        return _samples.native;
    }

    SoapySDR::ArgInfoList getStreamArgsInfo(const int, const size_t) const override
    {
        SoapySDR::ArgInfoList arguments;
        if (!_model.has_buffer_args) return arguments;
        SoapySDR::ArgInfo length, number;
        length.key = "bufflen";
        length.units = "bytes";
        length.value = std::to_string(_model.buffer_bytes);
        length.type = number.type = SoapySDR::ArgInfo::INT;
        number.key = "buffers";
        number.units = "buffers";
        number.value = std::to_string(_model.buffers);
        return {length, number};
    }

    SoapySDR::Stream *setupStream(const int, const std::string &format, const std::vector<size_t> &, const SoapySDR::Kwargs &args) override
    {
        if (!args.empty() && _refuses_buffers) throw std::runtime_error("iqfile: setupStream: unknown argument " + args.begin()->first);
        if (format != SOAPY_SDR_CF32 && format != _samples.native) throw std::runtime_error("iqfile: setupStream: invalid format " + format);
        _samples.convert = format != _samples.native;
        const size_t bytes = std::stoul(value_of(args, "bufflen", std::to_string(_model.buffer_bytes)));
        _samples.block = std::max<size_t>(1, bytes / _samples.native_size());
        _samples.depth = _samples.block * std::stoul(value_of(args, "buffers", std::to_string(_model.buffers)));
        _samples.rate = _rate;
        note("setupStream " + format + " " + SoapySDR::KwargsToString(args));
        return reinterpret_cast<SoapySDR::Stream *>(&_samples);
    }

    void closeStream(SoapySDR::Stream *) override { note("closeStream"); }
    size_t getStreamMTU(SoapySDR::Stream *) const override { return _samples.block; }

    int activateStream(SoapySDR::Stream *, const int, const long long, const size_t) override
    {
        note("activateStream");
        _samples.start();
        return 0;
    }

    int deactivateStream(SoapySDR::Stream *, const int, const long long) override
    {
        note("deactivateStream");
        return 0;
    }

    int readStream(SoapySDR::Stream *, void *const *buffs, const size_t n, int &flags, long long &time_ns, const long timeout_us) override
    {
        flags = 0;
        take_orders();
        if (_dead)
        {
            const std::string manner = value_of(_words, "gone", "error");
            if (manner == "unsupported") return SOAPY_SDR_NOT_SUPPORTED;
            if (manner == "error") return SOAPY_SDR_STREAM_ERROR;
            std::this_thread::sleep_for(std::chrono::microseconds(timeout_us));
            return SOAPY_SDR_TIMEOUT;
        }
        if (_repeats > 0)
        {
            _repeats--;
            if (_code == SOAPY_SDR_TIMEOUT) std::this_thread::sleep_for(std::chrono::microseconds(timeout_us));
            return _code;
        }
        if (_delay_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(_delay_ms));
        return _samples.read(buffs[0], n, flags, time_ns, timeout_us);
    }

private:
    static unsigned long injection_number(const std::string &text) { return text.empty() ? 0 : std::stoul(text); }

    void check_alive()
    {
        take_orders();
        if (_dead) throw std::runtime_error("iqfile: the device is gone");
    }

    void take_orders()
    {
        const unsigned version = Control::instance().version();
        if (version == _seen) return;
        _seen = version;
        const SoapySDR::Kwargs words = Control::instance().device(_serial);
        // The manner of going is said together with the going, and stays: a device never comes back to an old handle.
        if (!_dead && !words.empty()) _words = words;
        if (words.empty() || value_of(words, "present", "1") == "0" || value_of(words, "generation", "0") != _generation) _dead = true;
        _delay_ms = std::stol(value_of(_words, "read_delay_ms", "0"));
        const std::string order = value_of(_words, "inject", "");
        if (injection_number(order) <= _injected) return;
        _injected = injection_number(order);
        const auto first = order.find(':'), second = order.find(':', first + 1);
        const std::string kind = order.substr(first + 1, second - first - 1);
        const unsigned long argument = second == std::string::npos ? 1 : std::stoul(order.substr(second + 1));
        const bool loses = kind == "OVERFLOW" || kind == "SKIP";
        if (loses) _samples.skip(argument);
        if (kind == "SKIP") return;
        _code = CODES.at(kind);
        _repeats = loses ? 1 : argument;
    }

    const std::string _serial;
    SoapySDR::Kwargs _words;
    const std::string _model_name;
    const Model _model;
    const std::string _generation;
    const std::string _rates;
    const bool _refuses_buffers;
    SampleStream _samples;
    double _rate = 0.0;
    double _frequency = 0.0;
    bool _automatic = false;
    std::map<std::string, double> _gains;
    bool _dead = false;
    long _delay_ms = 0;
    unsigned _seen = 0;
    unsigned long _injected = 0;
    unsigned long _repeats = 0;
    int _code = 0;
};

static SoapySDR::KwargsList find(const SoapySDR::Kwargs &args)
{
    const std::string manner = Control::instance().enumerate();
    if (manner == "throw") throw std::runtime_error("iqfile: enumeration failed");
    if (manner != "ok") std::this_thread::sleep_for(std::chrono::milliseconds(std::stol(manner)));
    SoapySDR::KwargsList found;
    for (const auto &words : Control::instance().devices())
    {
        const std::string serial = value_of(words, "serial", "");
        const bool hidden = value_of(words, "serial_hidden", "0") == "1";
        if (value_of(words, "present", "1") == "0") continue;
        if (args.count("serial") != 0 && !hidden && args.at("serial") != serial) continue;
        SoapySDR::Kwargs entry = {{"label", "iqfile " + value_of(words, "model", "generic") + " " + serial}};
        if (!hidden) entry["serial"] = serial;
        found.push_back(entry);
    }
    return found;
}

static SoapySDR::Device *make(const SoapySDR::Kwargs &args)
{
    for (auto words : Control::instance().devices())
    {
        const std::string serial = words["serial"];
        if (value_of(words, "present", "1") == "0") continue;
        const bool hidden = value_of(words, "serial_hidden", "0") == "1";
        if (hidden && args.count("serial") != 0) throw std::runtime_error("iqfile: cannot open by serial");
        if (!hidden && value_of(args, "serial", serial) != serial) continue;
        if (value_of(words, "open", "ok") == "busy") throw std::runtime_error("iqfile: unable to open: usb_claim_interface error -6 (busy)");
        SoapySDR::logf(SOAPY_SDR_INFO, "iqfile opens %s", serial.c_str());
        SoapySDR::Kwargs known = args;
        known["serial"] = serial;
        return new IqFileDevice(known);
    }
    throw std::runtime_error("iqfile: no such device");
}

static SoapySDR::Registry registration("iqfile", &find, &make, SOAPY_SDR_ABI_VERSION);
