package main

import (
	"os"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/access"
	"github.com/ttydrain/ttydrain/pipeline/config"
	"github.com/ttydrain/ttydrain/pipeline/config/reload"
)

// newReloader returns the loop that applies changes of the configuration to a node, which was made
// from the file at path. A signal requests a reload at once.
func newReloader(n *node, path string, files config.Files, signal <-chan os.Signal) *reload.Loop {
	o := reload.Options{
		Path: path, Current: n.config.Load(), Files: files, Verify: verifyParts, Apply: n.reconfigure,
		Signal: signal, Registry: n.registry, Log: n.log,
	}
	if n.runtime != nil {
		o.Loaded = n.runtime.Conceal
	}
	return reload.New(o)
}

// reconfigure applies a configuration, all of it or, with an error, nothing. Sessions that run keep
// the one that they began with.
func (n *node) reconfigure(c *config.Config) error {
	var policy *access.Policy // of the gateway
	if n.gateway != nil {
		var err error
		if policy, err = n.authorizer.Policy().With(c); err != nil {
			return err
		}
	}
	var keys *enrich.KeyRing
	if n.signingKey != nil {
		var err error
		if keys, err = readKeys(c.UserDocument); err != nil {
			return err
		}
	}
	if n.gateway != nil {
		reload.LogProgramWarnings(c, n.log)
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
		n.signingKey.Use(keys)
	}
	if policy != nil {
		n.authorizer.Use(policy)
	}
	n.config.Store(c)
	return nil
}
