package config

import (
	"slices"

	"golang.org/x/crypto/ssh"

	"github.com/ttydrain/ttydrain/schema"
)

// App returns the app with a name. It must not be modified.
func (c *Config) App(name string) (*App, bool) {
	i := slices.IndexFunc(c.Apps, func(a App) bool { return a.Name == name })
	if i < 0 {
		return nil, false
	}
	return &c.Apps[i], true
}

// Stack returns the stack with a name. It must not be modified.
func (c *Config) Stack(name string) (*Stack, bool) {
	i := slices.IndexFunc(c.Stacks, func(s Stack) bool { return s.Name == name })
	if i < 0 {
		return nil, false
	}
	return &c.Stacks[i], true
}

// Authorize returns the owner of a key, if that user may open the app. An unknown app, an unknown
// key and a key without permission for the app all result in false, so that a stranger cannot find
// out which exist. A certificate is not a user's key.
func (c *Config) Authorize(app string, key ssh.PublicKey) (schema.User, bool) {
	_, appExists := c.App(app)
	i, keyExists := c.byKey[string(key.Marshal())]
	if !appExists || !keyExists || !slices.Contains(c.Users[i].Apps, app) {
		return schema.User{}, false
	}
	u := &c.Users[i]
	return schema.User{ID: u.ID, Name: u.Name, Email: u.Email}, true
}
