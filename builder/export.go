// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/distribution/reference"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage/tarfile"
)

// exportForms are the destinations of --export, for its help and its errors.
var exportForms = []string{
	"oci:DIR[:TAG]", "oci-archive:FILE[:TAG]", "docker-archive:FILE[:REF]", "docker://REGISTRY/REPO[:TAG]",
	"containers-storage:REF", "tar:FILE", "dir:DIR",
}

// ExportForms lists what a destination of --export looks like.
func ExportForms() string { return strings.Join(exportForms, ", ") }

// Export is one destination of --export.
type Export struct {
	// Transport is what stands before the colon: "oci", "docker".
	Transport string
	// Path is the file or directory; empty where a registry or a store is written to.
	Path string
	// Name is the tag of a layout or the full reference of an image ("registry.example/debian:13"); empty for none.
	Name string
}

// tagName is a name for an image in a layout (image specification, annotations.md, org.opencontainers.image.ref.name).
var tagName = regexp.MustCompile(`^[A-Za-z0-9]+([-._:@/+]+[A-Za-z0-9]+)*$`)

// ParseExport reads a destination of --export. As in skopeo, a path ends at its first colon.
func ParseExport(text string) (Export, error) {
	kind, rest, ok := strings.Cut(text, ":")
	if !ok {
		return Export{}, fmt.Errorf("%q is none of %s", transport.Redact(text), ExportForms())
	}
	e := Export{Transport: kind}
	var err error
	switch kind {
	case transport.OCI, transport.OCIArchive:
		var named bool
		e.Path, e.Name, named = strings.Cut(rest, ":")
		if named && !tagName.MatchString(e.Name) {
			err = fmt.Errorf("%q is no tag", e.Name)
		}
	case transport.DockerArchive:
		var named bool
		if e.Path, e.Name, named = strings.Cut(rest, ":"); named {
			e.Name, err = fullReference(e.Name)
		}
	case transport.Docker:
		name, slashes := strings.CutPrefix(rest, "//")
		if !slashes {
			return Export{}, fmt.Errorf("%q: a registry is written docker://REGISTRY/REPO:TAG", transport.Redact(text))
		}
		if e.Name, err = fullReference(name); err == nil && !transport.NamesRegistry(name) {
			err = fmt.Errorf("%q names no registry: write docker://REGISTRY/%s", transport.Redact(name),
				transport.Redact(name))
		}
	case transport.Storage:
		if strings.ContainsAny(rest, "[]") {
			return Export{}, fmt.Errorf("%q: the place of the store is that of your podman, and cannot be given here",
				transport.Redact(text))
		}
		if !transport.NamesRegistry(rest) {
			rest = "localhost/" + rest // as podman and buildah call what was made here
		}
		e.Name, err = fullReference(rest)
	case transport.Tar, transport.Dir:
		e.Path = rest
	default:
		return Export{}, fmt.Errorf("%q is none of %s", transport.Redact(text), ExportForms())
	}
	if err != nil {
		return Export{}, fmt.Errorf("%q: %w", transport.Redact(text), err)
	}
	if e.Path == "" && kind != transport.Docker && kind != transport.Storage {
		return Export{}, fmt.Errorf("%q names no file or directory", transport.Redact(text))
	}
	return e, nil
}

// fullReference checks the name of an image and adds the tag "latest" if it has none.
func fullReference(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("%q is no name of an image: %w", transport.Redact(name), err)
	}
	if _, ok := named.(reference.Digested); ok {
		return "", fmt.Errorf("%q holds a digest, which is not known before the image is made: give a tag",
			transport.Redact(name))
	}
	return reference.TagNameOnly(named).String(), nil
}

// String is what ParseExport reads.
func (e Export) String() string {
	switch {
	case e.Transport == transport.Docker:
		return transport.Docker + "://" + e.Name
	case e.Path == "":
		return e.Transport + ":" + e.Name
	case e.Name == "":
		return e.Transport + ":" + e.Path
	default:
		return e.Transport + ":" + e.Path + ":" + e.Name
	}
}

// isImage reports whether the destination takes a container image, and not just the files.
func (e Export) isImage() bool { return e.Transport != transport.Tar && e.Transport != transport.Dir }

// compresses reports whether the destination keeps layers in compressed form.
func (e Export) compresses() bool {
	return e.Transport == transport.OCI || e.Transport == transport.OCIArchive || e.Transport == transport.Docker
}

// takesArtifacts reports whether the destination takes artifacts that refer to the image. Readers such as skopeo and
// podman that are given no name, as podman load never is, read only a layout that has one image and nothing else.
func (e Export) takesArtifacts() bool {
	return e.Transport == transport.OCI && e.Name != "" || e.Transport == transport.Docker
}

// exportFiles are the files that --export writes; directories are not among them.
func (s Spec) exportFiles() []string {
	var names []string
	for _, e := range s.o.Exports {
		if e.Transport == transport.Tar || e.Transport == transport.OCIArchive ||
			e.Transport == transport.DockerArchive {
			names = append(names, e.Path)
		}
	}
	return names
}

// exportCompression reads METHOD or METHOD:LEVEL of --export-compression; nothing is gzip, which everybody can read.
func exportCompression(text string) (ociimage.Compression, error) {
	if text == "" {
		return ociimage.Compression{Method: tarfile.Gzip}, nil
	}
	method, levelText, hasLevel := strings.Cut(text, ":")
	c := ociimage.Compression{Method: tarfile.Method(method)}
	if c.Method != tarfile.None && c.Method != tarfile.Gzip && c.Method != tarfile.Zstd {
		return c, fmt.Errorf("%q is not known: choose from zstd, gzip, none", method)
	}
	if hasLevel {
		level, err := strconv.Atoi(levelText)
		if err != nil || level < 1 {
			return c, fmt.Errorf("%q is not a level like 3", levelText)
		}
		c.Level = level
	}
	return c, tarfile.CheckLevel(c.Method, c.Level)
}

// exportCompressionKnown is about --export-compression alone.
func exportCompressionKnown(s Spec) []error {
	if _, err := exportCompression(s.o.ExportCompression); err != nil {
		return []error{&problem.Problem{Flag: "--export-compression", Err: err}}
	}
	return nil
}

// exportDestinations holds for each destination on this machine what outputLocation does for the other outputs.
func exportDestinations(s Spec) []error {
	const flag = "--export"
	var problems []error
	used := map[string]bool{}
	for _, name := range s.outputFiles() {
		used[filepath.Clean(name)] = true
	}
	for _, e := range s.o.Exports {
		key := e.String()
		if e.Path != "" && e.Transport != transport.OCI {
			key = filepath.Clean(e.Path)
		}
		if used[key] {
			problems = append(problems, problem.New(flag, "%q is written twice", e)...)
			continue
		}
		used[key] = true
		if err := s.exportDestination(e); err != nil {
			problems = append(problems, problem.New(flag, "%s: %w", e, err)...)
		}
	}
	return problems
}

// exportDestination reports what is wrong with the place of one destination.
func (s Spec) exportDestination(e Export) error {
	if e.Path == "" {
		return nil
	}
	if err := s.outputDirectory(e.Path); err != nil {
		return err
	}
	if e.Transport == transport.Tar {
		if err := tarfile.CheckName(e.Path); err != nil {
			return err
		}
	}
	info, err := s.w.Stat(e.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case e.Transport == transport.Dir:
		return fmt.Errorf("%q is there already; a directory is not replaced, because its files belong to many users", e.Path)
	case e.Transport == transport.OCI:
		return ociimage.CheckTarget(e.Path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%q is there already and is not a regular file", e.Path)
	}
	return nil
}
