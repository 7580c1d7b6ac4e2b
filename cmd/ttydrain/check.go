package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/sinks/probe"
)

func newCheckCommand() *cobra.Command {
	var path string
	var connect bool
	c := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Report every mistake in a configuration",
		Long: "Reports every mistake in a configuration, each with file:line:column, what was expected and the\n" +
			"nearest valid name. Exits with 1 if there is any. With --connect it also connects to each\n" +
			"drain, step by step, and reports what to do if a step fails; it writes no record. It checks the\n" +
			"Docker daemon for the images and containers of the apps that use it.\n\n" +
			"Each message ends with a code in brackets, such as [E203]: \"ttydrain docs E203\" explains it.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return err
			}
			fmt.Printf("%s: no mistakes: %s, %s, %s\n", path, plural(uint64(len(cfg.Apps)), "app"), plural(uint64(len(cfg.Users)), "user"), plural(uint64(len(cfg.Drains)), "drain"))
			for _, w := range slices.Concat(cfg.Warnings(), cfg.ProgramWarnings()) {
				fmt.Fprintln(os.Stderr, "WARNING:", w.Error())
			}
			warnAboutProxies(cfg)
			if connect {
				warnAboutConsumers(c.Context(), cfg)
				return probeAll(c.Context(), cfg)
			}
			return nil
		},
	}
	configFlag(c, &path)
	c.Flags().BoolVar(&connect, "connect", false, "try each drain (DNS, TCP, TLS, authentication), and the Docker daemon if an app uses it")
	return c
}

// warnAboutProxies warns of a proxy for drains that can't be used. It is in the environment, which
// can differ from that of serve, and so not a mistake in the configuration. The values are not
// printed, since they can have a password.
func warnAboutProxies(c *config.Config) {
	schemes := make(map[string]bool) // of the drains' addresses
	for _, d := range c.Drains {
		switch {
		case d.HTTPS != nil && d.HTTPS.Proxy == nil:
			schemes["https"] = true
		case d.Elasticsearch != nil && d.Elasticsearch.Proxy == nil:
			for _, address := range d.Elasticsearch.URLs {
				scheme, _, _ := strings.Cut(address.Reveal(), "://")
				schemes[scheme] = true
			}
		}
	}
	for _, scheme := range []string{"https", "http"} {
		// In the order of net/http.
		name := strings.ToUpper(scheme) + "_PROXY"
		value := os.Getenv(name)
		if value == "" {
			name = scheme + "_proxy"
			value = os.Getenv(name)
		}
		if schemes[scheme] && value != "" && !isProxy(value) {
			fmt.Fprintf(os.Stderr, "WARNING: %s in this environment is not the address of a proxy: drains with %s addresses are "+
				"reached without one, or not at all; expected http://HOST:PORT [%s]\n", name, scheme, config.CodeProxy)
		}
	}
}

// warnAboutConsumers warns if the drains may need more consumers on a NATS cluster than its servers
// allow.
func warnAboutConsumers(ctx context.Context, c *config.Config) {
	drains := len(routedDrains(c, slog.Default()))
	if c.NATS == nil || drains == 0 {
		return
	}
	n, err := bus.CountConsumers(ctx, busOptions(c, slog.New(slog.DiscardHandler)), drains)
	if err != nil {
		fmt.Fprintf(os.Stderr, "WARNING: the limits of the NATS cluster are unknown: %v\n", err)
	}
	fmt.Printf("nats: %d drains with %d partitions need up to %d consumers on the stream LOGS\n", n.Drains, n.Partitions, n.Needed)
	switch {
	case n.Needed <= n.Limit:
	case n.Configured:
		fmt.Fprintf(os.Stderr, "WARNING: the NATS cluster allows %d consumers on LOGS: some drains would be unread; raise max_consumers of the stream or the account to %d [%s]\n", n.Limit, n.Needed, config.CodeConsumers)
	default:
		fmt.Fprintf(os.Stderr, "WARNING: NATS servers allow %d consumers a stream by default, with which some drains would be unread; "+
			"set jetstream: {limits: {default_max_consumers: -1}} on each server, if it is not set there [%s]\n", n.Limit, config.CodeConsumers)
	}
}

// isProxy reports whether net/http can use the address of a proxy: a URL, or a host with or without
// a port. It misreads others, or ignores them silently.
func isProxy(address string) bool {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	return err == nil && u.Hostname() != "" && slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme)
}

func configFlag(c *cobra.Command, path *string) {
	c.Flags().StringVarP(path, "config", "c", "ttydrain.yaml", "the configuration, a YAML `FILE`")
}

// loadConfig reads a configuration, and prints all of its mistakes.
func loadConfig(path string) (*config.Config, error) {
	c, _, err := loadConfigFiles(path)
	return c, err
}

// loadConfigFiles is loadConfig, and also returns the files that were read.
func loadConfigFiles(path string) (*config.Config, config.Files, error) {
	c, files, err := config.LoadFiles(path, verifyParts)
	var mistakes config.Mistakes
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			fmt.Fprintln(os.Stderr, m.Error())
		}
		fmt.Fprintf(os.Stderr, "%s: \"ttydrain docs CODE\" explains a code, such as %s\n", plural(uint64(len(mistakes)), "mistake"), mistakes[0].Code)
		return nil, files, exitStatus(1)
	}
	return c, files, err
}

// probeAll checks the Docker daemon, if an app uses it, and the connection to each drain, and
// prints the steps and a summary. It writes no record.
func probeAll(ctx context.Context, c *config.Config) error {
	broken, err := probeContainers(ctx, c)
	if err != nil {
		return err
	}
	var failed []string // drains
	warned := 0         // other drains
	for _, d := range c.Drains {
		routed := routedDrain(d, slog.Default())
		report := routed.Test(ctx, nil)
		if !d.DrainEphemeralSessions {
			report.Notes = []string{"drain_ephemeral_sessions is false: it gets no session logs"}
		}
		switch {
		case !report.OK:
			failed = append(failed, d.Name)
		case slices.ContainsFunc(report.Steps, func(s probe.Step) bool { return s.Result == probe.ResultWarning }):
			warned++
		}
		if err := printReport(os.Stdout, report); err != nil {
			return err
		}
	}
	fmt.Println(connectSummary(len(c.Drains), warned, failed, broken))
	if len(failed)+broken > 0 {
		return exitStatus(1)
	}
	return nil
}

// connectSummary returns the last line of check --connect. broken is the number of failures of the
// Docker daemon and its apps.
func connectSummary(drains, warned int, failed []string, broken int) string {
	var text string
	switch ok := drains - len(failed); {
	case drains == 0:
		text = "there are no drains to connect to"
	case len(failed) == 0 && drains == 1:
		text = "the drain can be reached"
	case len(failed) == 0:
		text = fmt.Sprintf("all %d drains can be reached", drains)
	case drains == 1:
		text = "the drain failed: " + failed[0]
	default:
		text = fmt.Sprintf("%d of %d drains can be reached; failed: %s", ok, drains, strings.Join(failed, ", "))
	}
	if warned > 0 {
		text += "; " + plural(uint64(warned), "drain") + " with a warning"
	}
	if broken > 0 {
		text += "; " + plural(uint64(broken), "failure") + " of the runtime docker"
	}
	return "summary: " + text
}
