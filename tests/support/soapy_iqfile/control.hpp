// What a test says to the driver while it runs: one file, read again whenever it was replaced.
//
// SOAPY_IQFILE_CONTROL names the file. Each line is words KEY=VALUE. A line with serial=... is one device:
//
//   serial=A1          which device (needed)
//   model=generic      generic | rtl | airspy_r2 | airspy_mini | plain: see models.hpp
//   present=1          0: unplugged; enumeration does not list it, and open ones are dead for ever
//   generation=0       another number than at the opening: it was unplugged meanwhile
//   gone=error         what an unplugged one does when it is read: error | timeout | unsupported
//   open=ok            busy: opening throws, as a claimed USB interface does
//   serial_hidden=0    1: enumeration gives no serial, and opening by serial throws
//   read_delay_ms=0    every read takes so much longer
//   inject=N:KIND:ARG  done once by the next read, when N is larger than at the last time. KIND is OVERFLOW (ARG samples
//                      are lost), SKIP (ARG samples are lost and nobody says so), TIMEOUT, STREAM_ERROR, CORRUPTION,
//                      NOT_SUPPORTED, TIME_ERROR, UNDERFLOW (ARG reads give it)
//
// A line with enumerate=... holds for all: ok, throw, or the milliseconds that enumeration takes. Without a file there
// is one generic device with the serial IQFILE01. SOAPY_IQFILE_LOG names a file to which every call that opens, closes
// or sets something is appended as a line.
#pragma once

#include <SoapySDR/Types.hpp>
#include <sys/stat.h>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>
#include <vector>

namespace iqfile {

inline std::string value_of(const SoapySDR::Kwargs &words, const std::string &key, const std::string &otherwise)
{
    const auto found = words.find(key);
    return found == words.end() ? otherwise : found->second;
}

inline void note(const std::string &line)
{
    const char *path = std::getenv("SOAPY_IQFILE_LOG");
    if (path == nullptr) return;
    // One write in append mode, so that lines of several processes and threads do not mix.
    std::ofstream log(path, std::ios::app);
    log << line + "\n" << std::flush;
}

class Control
{
public:
    static Control &instance()
    {
        static Control control;
        return control;
    }

    // Words of one device; empty when the file does not name it.
    SoapySDR::Kwargs device(const std::string &serial)
    {
        const std::lock_guard<std::mutex> guard(_mutex);
        refresh();
        for (const auto &words : _devices)
            if (value_of(words, "serial", "") == serial) return words;
        return {};
    }

    SoapySDR::KwargsList devices()
    {
        const std::lock_guard<std::mutex> guard(_mutex);
        refresh();
        return _devices;
    }

    std::string enumerate()
    {
        const std::lock_guard<std::mutex> guard(_mutex);
        refresh();
        return _enumerate;
    }

    // Grows whenever the file was read anew, so that readers need to look only then.
    unsigned version()
    {
        const std::lock_guard<std::mutex> guard(_mutex);
        refresh();
        return _version;
    }

private:
    void refresh()
    {
        const char *path = std::getenv("SOAPY_IQFILE_CONTROL");
        struct stat status = {};
        if (path == nullptr || ::stat(path, &status) != 0)
        {
            if (_version == 0 || _inode != 0) take({"serial=IQFILE01"});
            _inode = 0;
            return;
        }
        if (status.st_ino == _inode && status.st_mtim.tv_nsec == _mtime.tv_nsec && status.st_mtim.tv_sec == _mtime.tv_sec)
            return;
        _inode = status.st_ino;
        _mtime = status.st_mtim;
        std::vector<std::string> lines;
        std::ifstream stream(path);
        for (std::string line; std::getline(stream, line);) lines.push_back(line);
        take(lines);
    }

    void take(const std::vector<std::string> &lines)
    {
        _version++;
        _devices.clear();
        _enumerate = "ok";
        for (const auto &line : lines)
        {
            SoapySDR::Kwargs words;
            std::istringstream stream(line);
            for (std::string word; stream >> word;)
            {
                const auto equals = word.find('=');
                if (equals != std::string::npos) words[word.substr(0, equals)] = word.substr(equals + 1);
            }
            if (words.count("serial") != 0) _devices.push_back(words);
            if (words.count("enumerate") != 0) _enumerate = words["enumerate"];
        }
    }

    std::mutex _mutex;
    SoapySDR::KwargsList _devices;
    std::string _enumerate = "ok";
    unsigned _version = 0;
    ino_t _inode = 0;
    struct timespec _mtime = {};
};

} // namespace iqfile
