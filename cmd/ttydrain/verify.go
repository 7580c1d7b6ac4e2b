package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/pipeline/access"
	"github.com/ttydrain/ttydrain/pipeline/admin"
	"github.com/ttydrain/ttydrain/pipeline/bus"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/gateway"
	"github.com/ttydrain/ttydrain/pipeline/session"
	"github.com/ttydrain/ttydrain/pipeline/session/sandbox"
	"github.com/ttydrain/ttydrain/sinks"
)

// verifyParts opens the configured parts of ttydrain with the functions that serve uses, and
// reports each error. It opens no connection and no listener, and creates no file. Errors that
// depend on the host at the start remain for serve: ports and a store that are in use, and the
// features that the sandbox requires.
func verifyParts(c *config.Config, refuse config.Refuse) {
	report := func(path string, err error) {
		for _, one := range sinks.SettingErrors(err) {
			if setting, ok := errors.AsType[*sinks.SettingError](one); ok {
				refuse(path+"."+setting.Setting, setting.Problem)
				continue
			}
			refuse(path, "is not accepted: "+one.Error())
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	for i, d := range c.Drains {
		sink, err := openSink(d, quiet)
		if err == nil {
			err = sink.Close()
		}
		report(fmt.Sprintf("drains[%d]", i), err)
	}
	if c.NATS != nil {
		verifyNATS(c.NATS, report)
	}
	report("gateway", verifyGateway(c))
	_, err := readKeys(c.UserDocument)
	if errors.Is(err, fs.ErrNotExist) { // created by serve
		err = nil
	}
	report("user_document.signing_key", err)
	_, err = newConsole(c, "", "", quiet)
	report("admin.console", err)
	if t := c.Admin.TLS; t != nil {
		_, err = admin.LoadCertificate(t.CertFile, t.KeyFile, quiet)
		report("admin.tls", err)
	}
	_, err = access.New(c, quiet)
	report("access_token", err)
	report("tracing", verifyTracing(c))
	if c.UsesRuntime(config.RuntimeSandbox) {
		for _, f := range c.Private() {
			report(f.Setting, sandbox.CheckPrivate(f.Path))
		}
	}
	if c.UsesRuntime(config.RuntimeDocker) {
		containers, err := newContainers(c, "", quiet)
		if err == nil {
			err = containers.Close()
		}
		report("docker", err)
	}
}

func verifyNATS(n *config.NATS, report func(path string, err error)) {
	_, err := sinks.TLS(n.TLS).Config()
	report("nats", err)
	for _, file := range []struct {
		setting, path string
		check         func([]byte) error
	}{
		{"nats.credentials_file", n.CredentialsFile, bus.CheckCredentials},
		{"nats.nkey_seed_file", n.NKeySeedFile, bus.CheckNKeySeed},
	} {
		if file.path == "" {
			continue
		}
		data, err := os.ReadFile(file.path)
		if err == nil {
			err = file.check(data)
		}
		report(file.setting, err)
	}
}

// verifyGateway opens a gateway with a temporary host key.
func verifyGateway(c *config.Config) error {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return err
	}
	o := gatewayOptions(c)
	o.HostKeys, o.Authorizer, o.Sessions = []ssh.Signer{key}, new(access.Authorizer), new(session.Manager)
	_, err = gateway.New(o)
	return err
}

func verifyTracing(c *config.Config) error {
	ctx := context.Background()
	tracer, err := openTracer(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return tracer.Close(ctx) // it has no spans
}
