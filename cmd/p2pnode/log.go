package main

import (
	"fmt"
	"io"
	"log/slog"

	golog "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
	"go.uber.org/zap"
	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"
)

// newLogger returns the one logger of a process, and makes libraries write to
// it. It has to come before their first line: they keep what they found then.
func newLogger(to io.Writer, level, format string) (*zap.Logger, error) {
	least, err := zapcore.ParseLevel(level)
	if err != nil || least > zapcore.ErrorLevel {
		return nil, usageError{fmt.Errorf("--log-level %s: want debug, info, warn or error", level)}
	}
	if format == "auto" {
		format = "json"
		if _, ok := terminal(to); ok {
			format = "text"
		}
	}
	cfg := zap.NewProductionEncoderConfig()
	cfg.EncodeTime = zapcore.RFC3339TimeEncoder
	cfg.EncodeDuration = zapcore.SecondsDurationEncoder
	cfg.TimeKey = "time"
	var enc zapcore.Encoder
	switch format {
	case "json":
		enc = zapcore.NewJSONEncoder(cfg)
	case "text":
		cfg.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05")
		cfg.EncodeLevel = zapcore.CapitalLevelEncoder
		cfg.ConsoleSeparator = "  "
		enc = zapcore.NewConsoleEncoder(cfg)
	default:
		return nil, usageError{fmt.Errorf("--log-format %s: want auto, text or json", format)}
	}
	sink := zapcore.Lock(zapcore.AddSync(to))
	libraries(enc, sink, least)
	return zap.New(zapcore.NewCore(enc, sink, least), zap.ErrorOutput(sink)), nil
}

// warnLog returns a logger for commands that are over soon: it writes what they
// warn of to stderr.
func (a *app) warnLog() *zap.Logger {
	log, err := newLogger(a.err, "warn", "text")
	if err != nil {
		return zap.NewNop() // fixed options, can't fail
	}
	return log
}

// libraries sends what libp2p (slog) and kad-dht (go-log) write to sink. Their
// everyday talk isn't an operator's: below debug, only errors show.
func libraries(enc zapcore.Encoder, sink zapcore.WriteSyncer, least zapcore.Level) {
	theirs := zapcore.ErrorLevel
	if least == zapcore.DebugLevel {
		theirs = zapcore.WarnLevel
	}
	core := zapcore.NewCore(enc.Clone(), sink, theirs)
	handler := zapslog.NewHandler(core)
	gologshim.SetDefaultHandler(handler)
	slog.SetDefault(slog.New(handler))
	golog.SetPrimaryCore(core)
	golog.SetAllLoggers(golog.LevelError)
}
