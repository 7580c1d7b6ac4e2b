package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/access"
	"github.com/ttydrain/ttydrain/pipeline/config"
)

// lookEvery is how often the configuration's files are looked at.
//
// They are looked at, and no kernel interface tells of them: inotify watches inodes. An editor's
// rename, the swap of the symbolic link through which Kubernetes mounts a volume, and a file that
// is not there yet all need other watches, and network file systems tell of nothing. A few calls of
// stat(2) a second need none of that.
const lookEvery = time.Second

// A reloader keeps a node's configuration that of its file.
//
// A file that has changed is loaded when it looks the same twice in a row: one that is being
// written in place could be a whole configuration already, and not the one that is meant.
type reloader struct {
	path  string           // of the configuration
	files config.Files     // as they were at the last load
	now   <-chan os.Signal // asks for a load at once; closed by nobody
	node  *node
	log   *slog.Logger

	results *prometheus.CounterVec // by result
	good    prometheus.Gauge       // when the one in force was loaded
	inForce prometheus.Gauge       // whether the files say what is in force
}

// The results of a reload.
const (
	reloadOK      = "ok"
	reloadRefused = "refused"
)

// newReloader makes a reloader for a node whose configuration was just loaded from the file at
// path.
func newReloader(n *node, path string, files config.Files, now <-chan os.Signal) *reloader {
	r := &reloader{path: path, files: files, now: now, node: n, log: n.log.With("file", path)}
	r.results = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "ttydrain", Name: "config_reloads_total",
		Help: "Times that the configuration was loaded again: ok, or refused, which left the one before in force."}, []string{"result"})
	r.good = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "ttydrain", Name: "config_last_load_timestamp_seconds",
		Help: "When the configuration that is in force was loaded, in Unix time."})
	r.inForce = prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "ttydrain", Name: "config_last_reload_successful",
		Help: "Whether the configuration was put into force when it was loaded last: 1, or 0 where it was refused and waits to be mended."})
	n.registry.MustRegister(r.results, r.good, r.inForce)
	for _, result := range []string{reloadOK, reloadRefused} {
		r.results.WithLabelValues(result)
	}
	r.good.SetToCurrentTime()
	r.inForce.Set(1)
	return r
}

// run loads again what has changed, until ctx is done.
func (r *reloader) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := r.files
	for {
		select {
		case <-tick.C:
			seen := r.files.Now()
			settled := seen.Same(last)
			last = seen
			if seen.Same(r.files) || !settled {
				continue
			}
		case <-r.now:
		case <-ctx.Done():
			return
		}
		r.load()
		last = r.files
	}
}

// load loads the configuration, and puts it into force or says why not.
func (r *reloader) load() {
	c, files, err := config.LoadFiles(r.path, verifyParts)
	r.files = files
	if err == nil {
		err = r.node.reconfigure(c)
	}
	if r.node.runtime != nil {
		r.node.runtime.Conceal() // also with mistakes: a folder or a symbolic link may have been replaced
	}
	if err == nil {
		logWarnings(c, r.log)
		r.results.WithLabelValues(reloadOK).Inc()
		r.good.SetToCurrentTime()
		r.inForce.Set(1)
		r.log.Info("the configuration was loaded again", "apps", len(c.Apps), "users", len(c.Users), "drains", len(c.Drains))
		return
	}
	r.results.WithLabelValues(reloadRefused).Inc()
	r.inForce.Set(0)
	var mistakes config.Mistakes
	var fixed fixedSettings
	switch {
	case errors.As(err, &mistakes):
		for _, m := range mistakes {
			r.log.Error("a mistake in the new configuration", "place", fmt.Sprintf("%s:%d:%d", m.File, m.Line, m.Column), "field", m.Path, "mistake", m.Message)
		}
	case errors.As(err, &fixed):
		for _, name := range fixed {
			r.log.Error("a setting can't be changed while ttydrain runs: restart to change it", "field", name)
		}
	default:
		r.log.Error("the new configuration can't be put into force", "error", err)
	}
	r.log.Error("the new configuration was refused, and the one before stays in force")
}

// reconfigure puts a configuration into force, all of it or, with an error, nothing. It is for new
// sessions: those that run go on with the one that they began with.
func (n *node) reconfigure(c *config.Config) error {
	if fixed := changedFixed(n.config.Load(), c); len(fixed) > 0 {
		return fixed
	}
	var policy *access.Policy // of the gateway's
	if n.gateway != nil {
		var err error
		if policy, err = n.authorizer.Policy().With(c); err != nil {
			return err
		}
	}
	var keys *enrich.KeyRing
	if n.signer != nil {
		var err error
		if keys, err = readKeys(c.UserDocument); err != nil {
			return err
		}
	}
	drains := routedDrains(c, n.log)
	if n.router != nil {
		if err := n.router.Update(drains); err != nil {
			return err
		}
		n.operator.Update(drains)
	}
	if n.gateway != nil {
		if err := n.gateway.SetLimits(n.gatewayLimits(c)); err != nil {
			return err // never: the configuration was checked
		}
	}
	if keys != nil {
		n.signer.keys.Store(keys)
	}
	if policy != nil {
		n.authorizer.Use(policy)
	}
	n.config.Store(c)
	return nil
}

// fixedSettings are settings that were changed and can't be while ttydrain runs.
type fixedSettings []string

func (f fixedSettings) Error() string {
	return strings.Join(f, ", ") + " can't be changed while ttydrain runs: restart to change it"
}

// changedFixed tells which of the settings that are read at the start alone are others.
func changedFixed(before, after *config.Config) fixedSettings {
	var changed fixedSettings
	for _, s := range []struct {
		name          string
		before, after any
	}{
		{"store", before.Store, after.Store},
		{"nats", before.NATS, after.NATS},
		{"sync_interval", before.SyncInterval, after.SyncInterval},
		{"streams.max_bytes", before.Streams.MaxBytes, after.Streams.MaxBytes},
		{"streams.retention", before.Streams.Retention, after.Streams.Retention},
		{"gateway.listen", before.Gateway.Listen, after.Gateway.Listen},
		{"gateway.host_key", before.Gateway.HostKeys, after.Gateway.HostKeys},
		{"gateway.accept_env", before.Gateway.AcceptEnv, after.Gateway.AcceptEnv},
		{"sandbox", before.Sandbox, after.Sandbox},
		{"gateway.stop_timeout", before.Gateway.StopTimeout, after.Gateway.StopTimeout},
		{"gateway.keepalive_interval", before.Gateway.KeepaliveInterval, after.Gateway.KeepaliveInterval},
		{"gateway.keepalive_count", before.Gateway.KeepaliveCount, after.Gateway.KeepaliveCount},
		{"admin.listen", before.Admin.Listen, after.Admin.Listen},
		{"admin.socket", before.Admin.Socket, after.Admin.Socket},
		{"admin.tls", before.Admin.TLS, after.Admin.TLS},
		{"admin.hosts", before.Admin.Hosts, after.Admin.Hosts},
		{"admin.limits", before.Admin.Limits, after.Admin.Limits},
		{"admin.token", before.Admin.Token, after.Admin.Token},
		{"admin.console", before.Admin.Console, after.Admin.Console},
		{"user_document", before.UserDocument, after.UserDocument},
		{"docker", before.Docker, after.Docker},
		{"log", before.Log, after.Log},
		{"tracing", before.Tracing, after.Tracing},
		// The daemon is spoken to from the start on, where an app wants it; that none wants it any more
		// is no matter.
		{"apps: the first one with runtime docker", false, after.UsesRuntime(config.RuntimeDocker) && !before.UsesRuntime(config.RuntimeDocker)},
	} {
		if !reflect.DeepEqual(s.before, s.after) {
			changed = append(changed, s.name)
		}
	}
	return changed
}
