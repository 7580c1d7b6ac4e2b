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

// web are the pages: no build makes them. The folder player is asciinema-player as its package has
// it (see its README).
//
//go:embed web
var web embed.FS

// pages are the files of the console, ready to be sent. They do not change.
type pages struct {
	files          map[string]file // by their path below /console/
	login, entered *template.Template
}

type file struct {
	kind      string // of its content
	plain, gz []byte
	tag       string // of HTTP (RFC 9110 §8.8.3)
}

// kinds are the types of the files, which are the same whatever the machine's own tables say.
var kinds = map[string]string{".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

// loaded are the pages, which are made ready once.
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
	for name, into := range map[string]**template.Template{"login.html": &p.login, "entered.html": &p.entered} {
		if *into, err = template.New(name).Parse(string(p.files[name].plain)); err != nil {
			return nil, fmt.Errorf("the page %s: %w", name, err)
		}
		delete(p.files, name)
	}
	return p, nil
}

// page sends one of the files. They are the same for everybody, and hold nothing that not everybody
// may have.
func (c *Console) page(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/console/")
	if name == "" {
		name = "index.html"
	}
	f, ok := c.pages.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "no-cache") // asked for each time, and sent when it has changed
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
