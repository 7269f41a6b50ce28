// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"log/syslog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// logSettings are the options --log and --log-*.
type logSettings struct {
	destination string // a file name, syslog, stderr, none, or empty for none
	level       string
	max         diskimage.Size // 0: never rotate
	keep        int
	mode        fs.FileMode
}

func defaultLogSettings() logSettings {
	return logSettings{level: "debug", keep: 10, mode: 0o600}
}

// levelCritical is above slog's own levels. The name fatal means the same.
const levelCritical = slog.LevelError + 4

var (
	logLevelNames = []string{"debug", "info", "warning", "error", "critical", "fatal"}
	logLevels     = map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warning": slog.LevelWarn, "error": slog.LevelError,
		"critical": levelCritical, "fatal": levelCritical,
	}
)

// dialSyslog connects to the system's log.
func dialSyslog() (io.WriteCloser, error) {
	return syslog.New(syslog.LOG_USER|syslog.LOG_INFO, programName)
}

// openLog returns the logger that the settings ask for, and its closer, neither of them nil. With an error, the logger
// discards everything.
func openLog(s logSettings, stderr io.Writer, env environment) (*slog.Logger, io.Closer, error) {
	level := logLevels[s.level]
	discard, noCloser := slog.New(slog.DiscardHandler), io.NopCloser(nil)
	switch s.destination {
	case "", "none":
		return discard, noCloser, nil
	case "stderr":
		return slog.New(newLineHandler(stderr, level, "", false)), noCloser, nil
	case "syslog":
		w, err := env.dialSyslog()
		if err != nil {
			return discard, noCloser, fmt.Errorf("--log=syslog: %w", err)
		}
		return slog.New(newLineHandler(w, level, env.call.image, false)), w, nil
	}
	w, err := openLogFile(s)
	if err != nil {
		return discard, noCloser, fmt.Errorf("--log: %w", err)
	}
	return slog.New(newLineHandler(w, level, env.call.image, true)), w, nil
}

// rotatingFile makes lumberjack, which counts in megabytes, rotate at any number of bytes.
type rotatingFile struct {
	*lumberjack.Logger
	max, size int64
	keep      int
}

// openLogFile opens a log file to append to, or creates it with the mode of the settings. When lumberjack rotates, the
// new file gets the mode of the old one.
func openLogFile(s logSettings) (*rotatingFile, error) {
	size, err := prepareLogFile(s.destination, s.mode)
	if err != nil {
		return nil, err
	}
	const never = math.MaxInt64 >> 20 // in megabytes
	return &rotatingFile{
		Logger: &lumberjack.Logger{Filename: s.destination, MaxSize: never},
		max:    int64(min(s.max, math.MaxInt64)),
		size:   size,
		keep:   s.keep,
	}, nil
}

// prepareLogFile creates the file if it is missing, and returns its size.
func prepareLogFile(name string, mode fs.FileMode) (size int64, err error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	created := err == nil
	if errors.Is(err, fs.ErrExist) {
		file, err = os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if created {
		// The umask must not clear any bits.
		if err := file.Chmod(mode); err != nil {
			return 0, err
		}
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Write appends one line, and rotates before that if the file would exceed its limit.
func (f *rotatingFile) Write(line []byte) (int, error) {
	if f.max > 0 && f.size > 0 && f.size+int64(len(line)) > f.max {
		if err := errors.Join(f.Rotate(), f.removeOld()); err != nil {
			return 0, err
		}
		f.size = 0
	}
	n, err := f.Logger.Write(line)
	f.size += int64(n)
	return n, err
}

// removeOld removes the oldest rotated files, so that keep files remain with the present one. lumberjack does that
// later, if the process lives that long.
func (f *rotatingFile) removeOld() error {
	if f.keep == 0 {
		return nil
	}
	dir, base := filepath.Split(f.Filename)
	extension := filepath.Ext(base)
	prefix := strings.TrimSuffix(base, extension) + "-"
	entries, err := os.ReadDir(filepath.Clean(dir)) // sorted
	if err != nil {
		return err
	}
	var rotated []string
	for _, e := range entries {
		date, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), extension), prefix)
		if _, err := time.Parse("2006-01-02T15-04-05.000", date); ok && err == nil { // lumberjack's backupTimeFormat
			rotated = append(rotated, filepath.Join(dir, e.Name()))
		}
	}
	var errs []error
	for _, name := range rotated[:max(0, len(rotated)+1-f.keep)] {
		errs = append(errs, os.Remove(name))
	}
	return errors.Join(errs...)
}

// lineHandler writes a record as a line in the format of vmdebootstrap 1.7, "2006-01-02 15:04:05 INFO
// message", followed by the attributes as slog's TextHandler formats them. The time is omitted where the
// reader adds one. Messages begin with the name of the image if one of several is built.
type lineHandler struct {
	shared *lineBuffer
	attrs  slog.Handler
	prefix string
	time   bool
}

// lineBuffer holds a line until it is complete, so that it is written in one piece.
type lineBuffer struct {
	sync.Mutex
	bytes.Buffer
	out io.Writer
}

func newLineHandler(out io.Writer, level slog.Level, image string, withTime bool) *lineHandler {
	if image != "" {
		image += ": "
	}
	b := &lineBuffer{out: out}
	attrs := slog.NewTextHandler(&b.Buffer, &slog.HandlerOptions{Level: level, ReplaceAttr: dropBuiltin})
	return &lineHandler{b, attrs, image, withTime}
}

// dropBuiltin removes time, level and message, which lineHandler writes itself.
func dropBuiltin(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

func (h *lineHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.attrs.Enabled(ctx, level)
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &lineHandler{h.shared, h.attrs.WithAttrs(attrs), h.prefix, h.time}
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	return &lineHandler{h.shared, h.attrs.WithGroup(name), h.prefix, h.time}
}

// Handle implements slog.Handler.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	h.shared.Lock()
	defer h.shared.Unlock()
	h.shared.Reset()
	if h.time {
		h.shared.WriteString(r.Time.Format("2006-01-02 15:04:05 "))
	}
	h.shared.WriteString(levelName(r.Level) + " " + h.prefix + r.Message + " ")
	if err := h.attrs.Handle(ctx, r); err != nil {
		return err
	}
	line := append(bytes.TrimRight(h.shared.Bytes(), " \n"), '\n')
	_, err := h.shared.out.Write(line)
	return err
}

// levelName returns Python's name of the level.
func levelName(level slog.Level) string {
	switch {
	case level >= levelCritical:
		return "CRITICAL"
	case level >= slog.LevelError:
		return "ERROR"
	case level >= slog.LevelWarn:
		return "WARNING"
	case level >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}

// lineLogger logs the output of programs, of which builder.Executor writes a whole line at a time.
type lineLogger struct{ log *slog.Logger }

// Write implements io.Writer; it never fails.
func (l lineLogger) Write(line []byte) (int, error) {
	l.log.Debug(strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}
