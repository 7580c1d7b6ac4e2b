// Package reload keeps the configuration of a running process that of its file.
//
// A [Loop] loads the configuration again when one of its files has changed, or on a signal. It
// applies all of the new configuration or nothing: one with a mistake, or with another value of a
// setting that is read at the start only (settings.go), is refused, and the one before stays in
// force.
package reload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/measure"
)

// interval is the time between two checks of the configuration's files.
//
// They are polled, since no kernel interface reports all changes: inotify watches inodes. An
// editor's rename, the swap of the symbolic link through which Kubernetes mounts a volume, and a
// file that does not exist yet all need other watches, and network file systems report nothing. A
// few calls of stat(2) a second need none of that.
const interval = time.Second

// Options of a Loop. All but Verify, Loaded and Signal are needed.
type Options struct {
	// Path is the file that Current was loaded from, and Files are what [config.LoadFiles] returned
	// with it.
	Path    string
	Current *config.Config
	Files   config.Files
	// Verify checks a configuration further when it is loaded.
	Verify config.Verify
	// Apply puts a configuration into force, all of it or, with an error, nothing. It is called by
	// Run.
	Apply func(*config.Config) error
	// Loaded is called after each load, also of a refused configuration: a folder or a symbolic link
	// may have been replaced.
	Loaded func()
	// Signal requests a load at once.
	Signal   <-chan os.Signal
	Registry prometheus.Registerer
	Log      *slog.Logger
}

// A Loop reloads the configuration of a process.
//
// A file that has changed is loaded when two checks in a row find it the same: one that is being
// written in place could be a valid configuration already, but not the intended one.
type Loop struct {
	o   Options
	log *slog.Logger

	results    *prometheus.CounterVec // by result
	lastLoad   prometheus.Gauge       // when the configuration in force was loaded
	successful prometheus.Gauge       // whether the files hold the configuration in force
}

// The values of the label result.
const (
	resultOK      = "ok"
	resultRefused = "refused"
)

// New returns a loop, and registers its metrics.
func New(o Options) *Loop {
	l := &Loop{o: o, log: o.Log.With("file", o.Path)}
	l.results = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: measure.Namespace, Name: "config_reloads_total",
		Help: "Times that the configuration was loaded again: ok, or refused, which left the one before in force."}, []string{"result"})
	l.lastLoad = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: measure.Namespace, Name: "config_last_load_timestamp_seconds",
		Help: "When the configuration that is in force was loaded, in Unix time."})
	l.successful = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: measure.Namespace, Name: "config_last_reload_successful",
		Help: "Whether the configuration was put into force when it was loaded last: 1, or 0 where it was refused and waits to be mended."})
	o.Registry.MustRegister(l.results, l.lastLoad, l.successful)
	for _, result := range []string{resultOK, resultRefused} {
		l.results.WithLabelValues(result)
	}
	l.lastLoad.SetToCurrentTime()
	l.successful.Set(1)
	return l
}

// Run reloads the configuration when it has changed, until ctx is done.
func (l *Loop) Run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	last := l.o.Files
	for {
		select {
		case <-tick.C:
			now := l.o.Files.Now()
			settled := now.Same(last)
			last = now
			if now.Same(l.o.Files) || !settled {
				continue
			}
		case <-l.o.Signal:
		case <-ctx.Done():
			return
		}
		l.load()
		last = l.o.Files
	}
}

// load loads the configuration, and applies it or logs why not.
func (l *Loop) load() {
	c, files, err := config.LoadFiles(l.o.Path, l.o.Verify)
	l.o.Files = files
	if err == nil {
		err = l.apply(c)
	}
	if l.o.Loaded != nil {
		l.o.Loaded()
	}
	if err != nil {
		l.results.WithLabelValues(resultRefused).Inc()
		l.successful.Set(0)
		l.logRefusal(err)
		return
	}
	l.results.WithLabelValues(resultOK).Inc()
	l.lastLoad.SetToCurrentTime()
	l.successful.Set(1)
	LogWarnings(c, l.log)
	l.log.Info("configuration reloaded", "apps", len(c.Apps), "users", len(c.Users), "drains", len(c.Drains))
}

func (l *Loop) apply(c *config.Config) error {
	if changed := NeedRestart(l.o.Current, c); len(changed) > 0 {
		return restartError(changed)
	}
	if err := l.o.Apply(c); err != nil {
		return err
	}
	l.o.Current = c
	return nil
}

// logRefusal logs each reason why a configuration was refused.
func (l *Loop) logRefusal(err error) {
	mistakes, _ := errors.AsType[config.Mistakes](err)
	settings, _ := errors.AsType[restartError](err)
	for _, m := range mistakes {
		l.log.Error("mistake in the configuration", "place", place(m), "field", m.Path, "mistake", m.Message, "code", m.Code)
	}
	for _, name := range settings {
		l.log.Error("a setting can't be changed while ttydrain runs: restart to change it", "field", name)
	}
	if len(mistakes)+len(settings) == 0 {
		l.log.Error("the configuration can't be applied", "error", err)
	}
	l.log.Error("configuration refused: the one before stays in force")
}

// LogWarnings logs the warnings about a configuration in force.
func LogWarnings(c *config.Config, log *slog.Logger) {
	logWarnings(c.Warnings(), log)
}

// LogProgramWarnings logs the warnings about programs that the machine of a gateway lacks.
func LogProgramWarnings(c *config.Config, log *slog.Logger) {
	logWarnings(c.ProgramWarnings(), log)
}

func logWarnings(warnings config.Mistakes, log *slog.Logger) {
	for _, w := range warnings {
		log.Warn("the configuration is accepted with a warning", "place", place(w), "field", w.Path, "warning", w.Message, "code", w.Code)
	}
}

func place(m config.Mistake) string { return fmt.Sprintf("%s:%d:%d", m.File, m.Line, m.Column) }
