package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A component is software of others that the binary contains.
type component struct {
	name     string   // a module path, or the name of an npm package
	version  string   // "" for Go, and for what the player contains
	licenses []string // SPDX identifiers
	texts    []string // its licences and notices
}

// playerFolder has the npm package that the console embeds.
const playerFolder = "pipeline/admin/console/web/player"

// bundledFolder has the licences of what the player's script contains itself.
const bundledFolder = "cmd/ttydrain/packaging/files/licenses"

// player matches the name and the version in the title of the player's README.
var player = regexp.MustCompile(`(?m)^# (\S+) (\d\S+)$`)

// components returns the software of others in the binary, sorted by name: Go itself, the modules
// of its packages, the player and its library.
func (r *release) components(ctx context.Context) ([]component, error) {
	folders := make(map[string]map[string]bool) // of module paths: those with packages
	roots := make(map[string][2]string)         // of module paths: version and folder
	for _, arch := range []string{"amd64", "arm64"} {
		cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-f",
			"{{with .Module}}{{if not .Main}}{{.Path}}\t{{with .Replace}}{{.Version}}{{else}}{{.Version}}{{end}}\t{{.Dir}}\t{{$.Dir}}{{end}}{{end}}", command)
		cmd.Dir = r.root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOWORK=off", "GOFLAGS=")
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cmd, err)
		}
		for line := range strings.Lines(string(out)) {
			fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if len(fields) != 4 {
				continue
			}
			if folders[fields[0]] == nil {
				folders[fields[0]] = make(map[string]bool)
			}
			roots[fields[0]] = [2]string{fields[1], fields[2]}
			// From the package's folder up to the module's.
			for dir := fields[3]; len(dir) >= len(fields[2]); dir = filepath.Dir(dir) {
				folders[fields[0]][dir] = true
			}
		}
	}
	if len(roots) == 0 {
		return nil, errors.New("the binary has no modules")
	}
	goRoot, err := r.output(ctx, "go", "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	title, err := os.ReadFile(filepath.Join(r.root, playerFolder, "README.md"))
	if err != nil {
		return nil, err
	}
	found := player.FindSubmatch(title)
	if found == nil {
		return nil, fmt.Errorf("%s/README.md does not begin with a name and a version", playerFolder)
	}
	all := []component{{name: "Go"}, {name: string(found[1]), version: string(found[2])}, {name: "solid-js"}}
	places := []map[string]bool{{strings.TrimSpace(string(goRoot)): true}, {filepath.Join(r.root, playerFolder): true},
		{filepath.Join(r.root, bundledFolder, "solid-js"): true}}
	for _, name := range slices.Sorted(maps.Keys(roots)) {
		all = append(all, component{name: name, version: roots[name][0]})
		places = append(places, folders[name])
	}
	for i := range all {
		if err := all[i].read(places[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", all[i].name, err)
		}
	}
	return all, nil
}

// legal matches the names of files with a licence or a notice.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice)([-.](md|txt|rst))?$`)

// read reads the licences in the folders.
func (c *component) read(folders map[string]bool) error {
	for _, folder := range slices.Sorted(maps.Keys(folders)) {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || !legal.MatchString(e.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(folder, e.Name()))
			if err != nil {
				return err
			}
			c.texts = append(c.texts, tidy(text))
			if strings.EqualFold(strings.TrimSuffix(e.Name(), filepath.Ext(e.Name())), "notice") {
				continue
			}
			ids := identify(text)
			if len(ids) == 0 {
				return fmt.Errorf("the licence in %s is not known: read it and, if it may be used, add it to identify", e.Name())
			}
			for _, id := range ids {
				if !slices.Contains(c.licenses, id) {
					c.licenses = append(c.licenses, id)
				}
			}
		}
	}
	if len(c.licenses) == 0 {
		return errors.New("found no licence")
	}
	slices.Sort(c.licenses)
	return nil
}

// tidy returns the text without trailing space and empty lines around it.
func tidy(text []byte) string {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		b.WriteString(strings.TrimRight(line, " \t\f\n") + "\n")
	}
	return strings.Trim(b.String(), "\n")
}

// identify returns the SPDX identifiers of the licences that have a sentence in the text.
func identify(text []byte) (ids []string) {
	words := strings.ToLower(strings.Join(strings.Fields(string(text)), " "))
	for _, l := range []struct{ id, sentence string }{
		{"Apache-2.0", "apache license version 2.0"},
		{"MIT", "permission is hereby granted, free of charge, to any person obtaining a copy"},
		{"ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"},
		{"ISC", "permission to use, copy, modify, and distribute this software for any purpose"},
		{"MPL-2.0", "mozilla public license version 2.0"},
		{"MPL-2.0", "mozilla public license, version 2.0"},
		{"CC0-1.0", "cc0 1.0 universal"},
	} {
		if strings.Contains(words, l.sentence) && !slices.Contains(ids, l.id) {
			ids = append(ids, l.id)
		}
	}
	if strings.Contains(words, "redistribution and use in source and binary forms") {
		id := "BSD-2-Clause"
		if strings.Contains(words, "endorse or promote") {
			id = "BSD-3-Clause"
		}
		ids = append(ids, id)
	}
	return ids
}

// notice returns the text of NOTICE: the licences of all that the binary contains, each text once.
// It has no versions, so that it changes only where a licence does.
func notice(own []byte, components []component) []byte {
	users := make(map[string][]string)
	var order []string
	var b bytes.Buffer
	b.WriteString("ttydrain is licensed under the Apache License, Version 2.0, whose text is the first below.\n\n" +
		"It contains the following software of others, with the licences in parentheses. Their texts follow, each once.\n\n")
	add := func(name, text string) {
		if users[text] == nil {
			order = append(order, text)
		}
		users[text] = append(users[text], name)
	}
	add("ttydrain", tidy(own))
	for _, c := range components {
		fmt.Fprintf(&b, "  %s (%s)\n", c.name, strings.Join(c.licenses, ", "))
		for _, text := range c.texts {
			add(c.name, text)
		}
	}
	for _, text := range order {
		fmt.Fprintf(&b, "\n%s\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(slices.Compact(users[text]), "\n"), text)
	}
	return b.Bytes()
}
