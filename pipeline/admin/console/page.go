package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

// web holds the pages, which need no build step. The folder player is the package asciinema-player
// (see its README).
//
//go:embed web
var web embed.FS

// pages are the files of the console in the form in which they are sent. They are immutable.
type pages struct {
	files          map[string]file // by path below /console/
	login, entered *template.Template
	help           *template.Template
}

type file struct {
	kind      string // media type
	plain, gz []byte
	tag       string // ETag (RFC 9110 §8.8.3)
}

// kinds are the media types of the files, independent of the system's tables.
var kinds = map[string]string{".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

// loaded loads the pages once.
var loaded = sync.OnceValues(loadPages)

func loadPages() (*pages, error) {
	p := &pages{files: make(map[string]file)}
	err := fs.WalkDir(web, "web", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := web.ReadFile(name)
		if err != nil {
			return err
		}
		kind := kinds[path.Ext(name)]
		if kind == "" {
			kind = mime.TypeByExtension(".txt")
		}
		var gz bytes.Buffer
		z := gzip.NewWriter(&gz)
		if _, err := z.Write(data); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		p.files[strings.TrimPrefix(name, "web/")] = file{kind, data, gz.Bytes(), `"` + hex.EncodeToString(sum[:12]) + `"`}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for name, into := range map[string]**template.Template{"login.html": &p.login, "entered.html": &p.entered, "help.html": &p.help} {
		if *into, err = template.New(name).Funcs(helpFunctions).Parse(string(p.files[name].plain)); err != nil {
			return nil, fmt.Errorf("the page %s: %w", name, err)
		}
		delete(p.files, name)
	}
	return p, nil
}

// page serves a file. The files are the same for all users and contain nothing confidential.
func (c *Console) page(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/console/")
	switch name {
	case "":
		name = "index.html"
	case "link":
		name = "link.html"
	}
	f, ok := c.pages.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "no-cache") // revalidated on each use
	h.Set("ETag", f.tag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	data := f.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		data = f.gz
	}
	w.Write(data)
}
