// SPDX-License-Identifier: Apache-2.0

// Package lockfile reads and writes locks: what the outside world answered to a build, so that another build can be
// made of the same. A lock is YAML of our own, with a schema version and a line for each package, for people to read
// and compare.
//
// A lock decides by digests: of Release files, which have those of the indexes, which have those of the packages. It
// holds none of these files. Passwords and other secrets are not in it.
package lockfile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.yaml.in/yaml/v3"

	"github.com/vmdebootstrap/vmdebootstrap/builder/guard"
)

// Schema is the version of the format that this program writes and reads.
const Schema = 1

// File is a lock. Its YAML is documented in contrib/doc/reproducible.md.
type File struct {
	Schema int `yaml:"schema"`
	// Program is the program that wrote the lock, with its version.
	Program string `yaml:"program"`
	// Made is when the archives answered. The times of signatures are compared with it.
	Made time.Time `yaml:"made"`
	// Time is what the image records; Seed is what IDs come from.
	Time time.Time `yaml:"time"`
	Seed uuid.UUID `yaml:"seed"`
	// Settings are those of the build that differ from the defaults, in their order.
	Settings []Setting `yaml:"settings"`
	// Hidden are the names of settings that hold secrets: they are not in Settings.
	Hidden []string  `yaml:"hidden,omitempty,flow"`
	Suites []Suite   `yaml:"suites"`
	Inputs []Input   `yaml:"inputs"`
	Tools  []Package `yaml:"tools"`
	// Packages are those that the finished system has.
	Packages []Package `yaml:"packages"`
}

// Setting is one setting of the build, with one value. A list has one for each element.
type Setting struct{ Name, Value string }

// MarshalYAML writes a setting as "name: value".
func (s Setting) MarshalYAML() (any, error) { return map[string]string{s.Name: s.Value}, nil }

// UnmarshalYAML reads what MarshalYAML writes.
func (s *Setting) UnmarshalYAML(node *yaml.Node) error {
	var pair map[string]string
	if err := node.Decode(&pair); err != nil {
		return err
	}
	if len(pair) != 1 {
		return fmt.Errorf("line %d: a setting is a name and a value", node.Line)
	}
	for s.Name, s.Value = range pair {
	}
	return nil
}

// Suite is the state of a suite of an archive.
type Suite struct {
	// Use has UseImage, UseTools or both; none for a suite that was only asked for its codename.
	Use      []string `yaml:"use,omitempty,flow"`
	Mirror   string   `yaml:"mirror"`
	Suite    string   `yaml:"suite"`
	Codename string   `yaml:"codename"`
	// Date is that of the Release file.
	Date time.Time `yaml:"date"`
	// Files are the SHA-256 digests of InRelease, or of Release and Release.gpg.
	Files []Digest `yaml:"files"`
	// SignedBy are the fingerprints of the keys with good signatures.
	SignedBy []string `yaml:"signed-by,flow"`
}

// What a suite can be used for.
const (
	UseImage = "image"
	UseTools = "tools"
)

// Digest is a file with its digest.
type Digest struct {
	Name   string `yaml:"name"`
	SHA256 string `yaml:"sha256"`
}

// Input is a file or a directory of the user.
type Input struct {
	Option string `yaml:"option"`
	Name   string `yaml:"name"`
	SHA256 string `yaml:"sha256"`
}

// Package is a package. SHA256 and From are empty if only a hook knew where it came from.
type Package struct {
	Name         string `yaml:"name"`
	Version      string `yaml:"version"`
	Architecture string `yaml:"arch"`
	SHA256       string `yaml:"sha256,omitempty"`
	From         string `yaml:"from,omitempty"`
}

// MarshalYAML writes a package in one line.
func (p Package) MarshalYAML() (any, error) {
	type plain Package
	return line(plain(p))
}

// MarshalYAML writes a digest in one line.
func (d Digest) MarshalYAML() (any, error) {
	type plain Digest
	return line(plain(d))
}

// line is a mapping in one line.
func line(value any) (*yaml.Node, error) {
	var node yaml.Node
	err := node.Encode(value)
	node.Style = yaml.FlowStyle
	return &node, err
}

// Write writes the lock.
func (f File) Write(w io.Writer) error {
	if _, err := io.WriteString(w, "# A lock of vmdebootstrap: --lock-file builds the same again, and rebuild compares.\n"); err != nil {
		return err
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	return errors.Join(e.Encode(f), e.Close())
}

// SchemaError says that a lock is of another version than this program reads.
type SchemaError struct {
	Got int
	// Program is the program that has written the lock, if that can be read.
	Program string
}

func (e *SchemaError) Error() string {
	return fmt.Sprintf("it has schema %d, and this program reads schema %d", e.Got, Schema)
}

// DamagedError says that a file is no lock, or only a part of one.
type DamagedError struct{ Err error }

func (e *DamagedError) Error() string { return e.Err.Error() }

func (e *DamagedError) Unwrap() error { return e.Err }

// maxSize limits a lock. One of a desktop with 3,000 packages has 1 MB.
const maxSize = 64 << 20

// Read reads a lock. The error is a *SchemaError for one of another version, and a *DamagedError for what is no lock.
func Read(r io.Reader) (f File, err error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return File{}, err
	}
	if len(data) > maxSize {
		return File{}, &DamagedError{fmt.Errorf("it has more than %d bytes: it is no lock", maxSize)}
	}
	err = guard.Parse(func() error {
		var version struct {
			Schema  *int   `yaml:"schema"`
			Program string `yaml:"program"`
		}
		switch err := yaml.Unmarshal(data, &version); {
		case err != nil:
			return oneLine(err)
		case version.Schema == nil:
			return errors.New("it has no schema: it is no lock")
		case *version.Schema != Schema:
			return &SchemaError{*version.Schema, version.Program}
		}
		d := yaml.NewDecoder(bytes.NewReader(data))
		d.KnownFields(true)
		if err := d.Decode(&f); err != nil {
			return oneLine(err)
		}
		if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
			return errors.New("there is something after its end")
		}
		return f.check()
	})
	if _, other := errors.AsType[*SchemaError](err); err != nil && !other {
		err = &DamagedError{err}
	}
	if err != nil {
		return File{}, err
	}
	return f, nil
}

// oneLine makes one sentence of an error of package yaml.
func oneLine(err error) error {
	return errors.New("damaged: " + strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
}

// check returns an error if something is missing without which a build would not be locked.
func (f File) check() error {
	if f.Made.IsZero() || f.Time.IsZero() || f.Seed == uuid.Nil {
		return errors.New("damaged: made, time or seed is missing")
	}
	if _, ok := f.Suite(UseImage); !ok || len(f.Packages) == 0 {
		return errors.New("damaged: the suite of the image or the packages are missing")
	}
	for _, s := range f.Suites {
		if len(s.Files) == 0 || s.Mirror == "" || s.Suite == "" {
			return fmt.Errorf("damaged: suite %q has no mirror or no files", s.Suite)
		}
		for _, file := range s.Files {
			if strings.Contains(file.Name, "/") || !validDigest(file.SHA256) {
				return fmt.Errorf("damaged: suite %q: the digest of %q is not one", s.Suite, file.Name)
			}
		}
	}
	for _, p := range append(f.Tools[:len(f.Tools):len(f.Tools)], f.Packages...) {
		if p.Name == "" || p.Version == "" || p.SHA256 != "" && !validDigest(p.SHA256) {
			return fmt.Errorf("damaged: package %q has no version, or a digest that is not one", p.Name)
		}
	}
	return nil
}

// validDigest reports whether text is a SHA-256 digest in lower-case hexadecimal.
func validDigest(text string) bool {
	data, err := hex.DecodeString(text)
	return err == nil && len(data) == 32 && strings.ToLower(text) == text
}

// Suite returns the suite with a use.
func (f File) Suite(use string) (Suite, bool) {
	for _, s := range f.Suites {
		if slices.Contains(s.Use, use) {
			return s, true
		}
	}
	return Suite{}, false
}
