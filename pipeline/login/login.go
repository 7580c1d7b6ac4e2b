// Package login keeps the admin servers that a user has logged in to, each with its token, in one
// file that only the user can read. Commands use them where no configuration is at hand.
package login

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Context is an admin server with the token for it.
type Context struct {
	Name string `json:"name"`
	// Address is HOST:PORT, a URL or unix:PATH, and CAFile the file with the authorities to trust; ""
	// for those of the system.
	Address string `json:"address"`
	CAFile  string `json:"ca_file,omitempty"`
	Token   string `json:"token"` // a secret: never print it
}

// Contexts are the saved contexts of a user.
type Contexts struct {
	// Current is the name of the context that commands use by default; "" for none.
	Current string    `json:"current,omitempty"`
	List    []Context `json:"contexts"`

	path string
}

// Path returns the file of the user's contexts: ttydrain/contexts.json in the user's configuration
// folder, which is $XDG_CONFIG_HOME or ~/.config on Linux.
func Path() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the folder of saved contexts: %w", err)
	}
	return filepath.Join(dir, "ttydrain", "contexts.json"), nil
}

// Open reads the contexts in a file. A missing file has none. A file that others may read is
// refused, since it holds tokens.
func Open(path string) (*Contexts, error) {
	c := &Contexts{path: path}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the saved contexts: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the saved contexts: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("read the saved contexts: others may read %s, which holds tokens: chmod 600 it", path)
	}
	if err := json.NewDecoder(f).Decode(c); err != nil {
		return nil, fmt.Errorf("read the saved contexts: %s is not readable: remove it, and log in again", path) // without its content
	}
	return c, nil
}

// Find returns the context with a name; nil if there is none. "" is the current one.
func (c *Contexts) Find(name string) *Context {
	if name == "" {
		name = c.Current
	}
	if i := slices.IndexFunc(c.List, func(one Context) bool { return one.Name == name }); i >= 0 && name != "" {
		return &c.List[i]
	}
	return nil
}

// At returns the context of an address, the current one first; nil if there is none.
func (c *Contexts) At(address string) *Context {
	same := func(one *Context) bool {
		return strings.TrimSuffix(one.Address, "/") == strings.TrimSuffix(address, "/")
	}
	if current := c.Find(""); current != nil && same(current) {
		return current
	}
	for i := range c.List {
		if same(&c.List[i]) {
			return &c.List[i]
		}
	}
	return nil
}

// Put adds a context, or replaces the one with its name, and makes it the current one.
func (c *Contexts) Put(one Context) error {
	if old := c.Find(one.Name); old != nil {
		*old = one
	} else {
		c.List = append(c.List, one)
	}
	c.Current = one.Name
	return c.save()
}

// Use makes a context the current one. It reports whether there is one with that name.
func (c *Contexts) Use(name string) (bool, error) {
	if name == "" || c.Find(name) == nil {
		return false, nil
	}
	c.Current = name
	return true, c.save()
}

// Remove removes a context. It reports whether there was one with that name.
func (c *Contexts) Remove(name string) (bool, error) {
	left := slices.DeleteFunc(slices.Clone(c.List), func(one Context) bool { return one.Name == name })
	if len(left) == len(c.List) {
		return false, nil
	}
	c.List = left
	if c.Current == name {
		c.Current = ""
	}
	return true, c.save()
}

// save replaces the file.
func (c *Contexts) save() (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save the contexts: %w", err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return err
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(c.path), ".contexts-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.path)
}
