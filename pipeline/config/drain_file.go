package config

// File is a drain that writes records to files of NDJSON, one a day.
type File struct {
	// Path is the folder. It is created, for its owner alone, where it is missing.
	Path string `yaml:"path" as:"path" rule:"required"`
}

func (f *File) finish(d *decoder, path string) {
	d.keepPrivate(path+".path", f.Path) // it holds what users saw
}
