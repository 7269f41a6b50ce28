// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/archive"
	"github.com/vmdebootstrap/vmdebootstrap/builder/htmlreport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/inspect"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/debfile"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/snapshot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/transport"
	"github.com/vmdebootstrap/vmdebootstrap/builder/manifest"
	"github.com/vmdebootstrap/vmdebootstrap/builder/ociimage"
	"github.com/vmdebootstrap/vmdebootstrap/builder/progress"
	"github.com/vmdebootstrap/vmdebootstrap/builder/provenance"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// SBOM is a bill of materials that --sbom asks for.
type SBOM struct {
	// Format is one of SBOMFormats.
	Format string
	File   string
}

// SBOMFormats lists the formats of bills of materials.
func SBOMFormats() []string { return manifest.Formats() }

// ParseSBOM reads FORMAT:FILE.
func ParseSBOM(text string) (SBOM, error) {
	format, file, ok := strings.Cut(text, ":")
	switch {
	case !slices.Contains(SBOMFormats(), format):
		return SBOM{}, fmt.Errorf("%q is not FORMAT:FILE with a FORMAT of %s%s", text, strings.Join(SBOMFormats(), " or "),
			suggest.Question(format, SBOMFormats()))
	case !ok || file == "":
		return SBOM{}, fmt.Errorf("%q names no file: write %s:FILE", text, format)
	}
	return SBOM{format, file}, nil
}

// String is what ParseSBOM reads.
func (s SBOM) String() string { return s.Format + ":" + s.File }

// description is a file that describes what was built. Of an assembly, which has no Result, there are only the manifest
// and the bills of materials.
type description struct {
	flag, file string
	write      func(r *Result, ctx context.Context, m manifest.Manifest, w io.Writer) error
}

// descriptions are those that the options ask for.
func (s Spec) descriptions() []description {
	var all []description
	if s.o.Manifest != "" {
		all = append(all, description{"--manifest", s.o.Manifest,
			func(_ *Result, _ context.Context, m manifest.Manifest, w io.Writer) error { return m.Write(w) }})
	}
	for _, b := range s.o.SBOMs {
		all = append(all, description{"--sbom", b.File,
			func(_ *Result, _ context.Context, m manifest.Manifest, w io.Writer) error {
				return m.WriteSBOM(w, b.Format)
			}})
	}
	if s.o.LockFile != "" && s.w.Locked == nil {
		all = append(all, description{lockFlag, s.o.LockFile, (*Result).writeLock})
	}
	if s.o.Report != "" {
		all = append(all, description{"--report", s.o.Report, (*Result).writeReport})
	}
	if s.o.Provenance != "" { // the last: it has the digests of the others
		all = append(all, description{"--provenance", s.o.Provenance, (*Result).writeProvenance})
	}
	return all
}

// descriptionFiles holds for descriptions what exportDestinations does for exports: each is a file of its own.
func descriptionFiles(s Spec) []error {
	var problems []error
	used := map[string]int{}
	for _, name := range s.outputFiles() {
		used[filepath.Clean(name)]++
	}
	for _, d := range s.descriptions() {
		if used[filepath.Clean(d.file)] > 1 {
			problems = append(problems, problem.New(d.flag, "%q is written twice", d.file)...)
		}
	}
	if s.o.Provenance != "" && len(s.Outputs()) == len(s.descriptions()) {
		problems = append(problems, problem.New("--provenance", "no output of this build is a file")...)
	}
	return problems
}

// writeDescriptions writes the manifest and the bills of materials.
func (r *Result) writeDescriptions(ctx context.Context) error {
	m, err := r.Manifest(ctx)
	if err != nil {
		return err
	}
	return r.spec.writeDescriptions(ctx, r.x.Progress, m, r)
}

// writeDescriptions writes the descriptions of what was built: r is a build, or nil for an assembly.
func (s Spec) writeDescriptions(ctx context.Context, report *progress.Reporter, m manifest.Manifest, r *Result) error {
	for _, d := range s.descriptions() {
		report.Message("write " + d.file)
		err := diskimage.WriteFile(ctx, d.file, outputMode, func(f *os.File) error { return d.write(r, ctx, m, f) })
		if err != nil {
			return fmt.Errorf("%s: %w", d.flag, err)
		}
	}
	return nil
}

// writeLock writes the lock of the build.
func (r *Result) writeLock(_ context.Context, m manifest.Manifest, w io.Writer) error {
	lock, err := r.lockFile(m)
	if err != nil {
		return err
	}
	return lock.Write(w)
}

// writeReport writes the page of the build. A page that is there already says what has changed.
func (r *Result) writeReport(ctx context.Context, _ manifest.Manifest, w io.Writer) (err error) {
	files := slices.DeleteFunc(r.spec.WrittenFiles(), func(f progress.File) bool {
		return f.Name == r.spec.o.Report || f.Name == r.spec.o.Provenance // which are not written yet
	})
	page := htmlreport.Report{Program: r.x.Version, Build: &htmlreport.Build{
		Steps: r.x.Progress.Steps(), Usage: r.x.Progress.Usage(), Files: files}}
	if n := len(page.Build.Steps); n > 0 {
		last := page.Build.Steps[n-1]
		age := time.Duration((last.Start + last.Seconds) * float64(time.Second))
		page.Build.Began = r.x.Cache.Now().Add(-age).UTC()
	}
	var index diskimage.Index
	if page.Image, index, err = r.inspect(ctx); err != nil {
		return err
	}
	page.Directories = htmlreport.NewDirectory(index)
	if earlier, err := htmlreport.ReadFile(r.spec.o.Report); err == nil {
		page.Since(earlier)
	} else if !errors.Is(err, fs.ErrNotExist) {
		r.x.Progress.Warn(fmt.Sprintf("--report: nothing to compare with: %v", err))
	}
	return page.Write(w)
}

// inspect describes the disk image that was written, if there is one, and the finished system: as it is on the disk,
// or, if its file system is none that is read, as it was when it was written there.
func (r *Result) inspect(ctx context.Context) (found inspect.Report, index diskimage.Index, err error) {
	opened := &SourceTree{Tree: r.tree(r.Rootfs)}
	name := r.spec.Outputs()[0]
	if r.disk != nil {
		options := SourceOptions{World: r.spec.w, TempDir: r.x.TempDir, AnyDisk: true}
		opened, err = Source{Transport: transport.Disk, Path: r.disk.Files[0].Name}.Open(ctx, options)
		if err != nil {
			return found, nil, fmt.Errorf("read the image: %w", err)
		}
		defer func() { err = errors.Join(err, opened.Close()) }()
		if opened.SystemErr != nil {
			opened.Tree = r.tree(r.Rootfs)
		}
	}
	if index, err = diskimage.NewIndex(opened); err != nil {
		return found, nil, err
	}
	found, err = inspect.New(name, index, opened.Disk, opened.Format)
	return found, index, err
}

// writeProvenance writes the statement about all outputs that are files.
func (r *Result) writeProvenance(ctx context.Context, m manifest.Manifest, w io.Writer) error {
	lock, err := r.lockFile(m)
	if err != nil {
		return err
	}
	files, err := r.subjects(ctx)
	if err != nil {
		return err
	}
	if r.x.SignKey == nil {
		return provenance.Write(ctx, w, lock, m.Plan, files, nil)
	}
	return provenance.Write(ctx, w, lock, m.Plan, files, r.x.SignKey)
}

// subjects returns the files of the build for the statement about them, by their names in its directory. Files that are
// not there have the last part of their name: whoever verifies them puts them beside the statement.
func (r *Result) subjects(ctx context.Context) ([]provenance.Subject, error) {
	statement := r.spec.o.Provenance
	var files []provenance.Subject
	for _, name := range slices.Concat(r.spec.Outputs(), r.unnamed) {
		if name == statement || name == r.spec.o.Squash {
			continue
		}
		digest, err := digestFile(ctx, name)
		if err != nil {
			return nil, err
		}
		below, err := filepath.Rel(filepath.Dir(r.spec.w.absolute(statement)), r.spec.w.absolute(name))
		if err != nil || !filepath.IsLocal(below) {
			below = filepath.Base(name)
		}
		files = append(files, provenance.Subject{Name: below, SHA256: digest})
	}
	return files, nil
}

// digestFile returns the SHA-256 digest of a file, in hexadecimal.
func digestFile(ctx context.Context, name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, snapshot.UntilDone(ctx, f)); err != nil {
		return "", fmt.Errorf("digest of %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// VerifyProvenance compares the files of a statement with their digests: those of its names in dir. With a key,
// the statement must be signed by it. It returns the files, and whether the statement is signed.
func VerifyProvenance(ctx context.Context, r io.Reader, key *CacheKey, dir string) (names []string, signed bool,
	err error) {
	var verifier provenance.Key
	if key != nil {
		verifier = key
	}
	files, signed, err := provenance.Read(ctx, r, verifier)
	if err != nil {
		return nil, signed, err
	}
	var problems []error
	for _, f := range files {
		digest, err := digestFile(ctx, filepath.Join(dir, f.Name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("%s is missing", f.Name)
		case err == nil && digest != f.SHA256:
			err = fmt.Errorf("%s is another file: digest mismatch: want %s, got %s", f.Name, f.SHA256, digest)
		}
		problems = append(problems, err)
		names = append(names, f.Name)
	}
	return names, signed, errors.Join(problems...)
}

// documents are the manifest and the bills of materials that the options ask for, for a container image.
func (r *Result) documents(ctx context.Context) ([]ociimage.Document, error) {
	o := r.spec.o
	if o.Manifest == "" && len(o.SBOMs) == 0 {
		return nil, nil
	}
	m, err := r.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	var documents []ociimage.Document
	add := func(mediaType, file string, write func(w io.Writer) error) error {
		var data bytes.Buffer
		if err := write(&data); err != nil {
			return err
		}
		documents = append(documents, ociimage.Document{Type: mediaType, Name: filepath.Base(file), Data: data.Bytes()})
		return nil
	}
	if o.Manifest != "" {
		if err := add(manifest.MediaType, o.Manifest, m.Write); err != nil {
			return nil, err
		}
	}
	for _, b := range o.SBOMs {
		if err := add(manifest.SBOMType(b.Format), b.File, func(w io.Writer) error {
			return m.WriteSBOM(w, b.Format)
		}); err != nil {
			return nil, err
		}
	}
	return documents, nil
}

// Manifest describes the finished system. It is a function of the root file system, the plan and the lock: a build from
// the cache has the manifest of the first one. The layout of the disk is known when that is written.
func (r *Result) Manifest(ctx context.Context) (manifest.Manifest, error) {
	if r.manifest == nil {
		m, err := r.collectManifest(ctx)
		if err != nil {
			return m, fmt.Errorf("describe the system: %w", err)
		}
		r.manifest = &m
	}
	return *r.manifest, nil
}

// collectManifest reads the root file system.
func (r *Result) collectManifest(ctx context.Context) (manifest.Manifest, error) {
	o, release := r.spec.o, r.spec.release
	m := manifest.Manifest{
		Schema: manifest.Schema, Program: r.x.Version, Created: r.lock.Time.UTC(),
		System: manifest.System{Vendor: string(release.Vendor), Version: release.Version, Codename: release.Codename,
			Architecture: o.Arch},
		Archives: []manifest.Archive{
			archiveState(manifest.UseImage, r.spec.mirror(), r.sources.Release),
			archiveState(manifest.UseTools, r.sources.ToolsMirror, r.sources.ToolsRelease),
		},
		Inputs: []manifest.Input{}, Disk: r.disk.manifest(),
	}
	for _, from := range r.sources.Repositories {
		m.Archives = append(m.Archives, archiveState(manifest.UseImage, from.URL, from.release))
	}
	for _, input := range r.lock.Inputs {
		m.Inputs = append(m.Inputs, manifest.Input{Option: input.Flag, Name: r.spec.inputName(input.Name),
			SHA256: input.Digest})
	}
	for _, s := range r.Plan.Steps {
		data, err := json.Marshal(s)
		if err != nil {
			return m, fmt.Errorf("BUG: data of step %s: %w", s.Kind(), err)
		}
		m.Plan = append(m.Plan, manifest.Step{Kind: s.Kind(), Title: s.Title(), Data: data})
	}
	var err error
	if m.Packages, m.Unowned, err = manifest.Collect(ctx, r.tree(r.Rootfs)); err != nil {
		return m, err
	}
	return m, r.addOrigins(ctx, m.Packages)
}

// archiveState is the state of a suite for a manifest.
func archiveState(use string, mirror secret.URL, release *archive.Release) manifest.Archive {
	return manifest.Archive{Use: use, Mirror: mirror.Bare().String(), Suite: release.Name, Codename: release.Codename,
		Date: release.Date, InRelease: release.Digest}
}

// inputName names a file of the host relative to the working directory if it is there, so that two machines have the
// same manifest.
func (s Spec) inputName(name string) string {
	if rel, err := filepath.Rel(s.w.Dir, name); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return name
}

// addOrigins adds digests and origins to packages: from the index of the suite, and from the user's own files. They are
// unknown of what a hook has installed from another archive.
func (r *Result) addOrigins(ctx context.Context, packages []manifest.Package) error {
	type key struct{ name, version, arch string }
	known := map[key]manifest.Package{}
	add := func(index *archive.Index, mirror secret.URL, suite string) {
		for p := range index.All() {
			known[key{p.Name, p.Version, p.Architecture}] = manifest.Package{SHA256: p.SHA256,
				Origin: &manifest.Origin{Suite: suite, URL: withoutSlash(mirror.Bare()).String() + "/" + p.Filename}}
		}
	}
	for _, from := range r.sources.Repositories {
		add(from.index, from.URL, from.release.Codename)
	}
	add(r.sources.Main, r.spec.mirror(), r.sources.Release.Codename)
	for i, name := range r.spec.o.CustomPackages {
		control, err := debfile.ReadControl(ctx, r.lock.Copy(name))
		if err != nil {
			return fmt.Errorf("--custom-package: %w", err)
		}
		stanzas, err := archive.ReadStanzas(bytes.NewReader(control))
		if err != nil || len(stanzas) != 1 {
			return fmt.Errorf("--custom-package: %s: damaged control file", name)
		}
		c := stanzas[0]
		known[key{c.Get("Package"), c.Get("Version"), c.Get("Architecture")}] = manifest.Package{
			SHA256: r.lock.CustomPackages[i], Origin: &manifest.Origin{File: r.spec.inputName(name)}}
	}
	for i, p := range packages {
		if from, ok := known[key{p.Name, p.Version, p.Architecture}]; ok {
			packages[i].SHA256, packages[i].Origin = from.SHA256, from.Origin
		}
	}
	return nil
}

// manifest is the disk in a manifest; nil for no disk.
func (d *Disk) manifest() *manifest.Disk {
	if d == nil {
		return nil
	}
	l := d.Layout
	m := &manifest.Disk{Table: string(l.Table), ID: l.ID.String(), Size: uint64(l.Size), SectorSize: uint64(l.SectorSize),
		Loader: d.Loader.String(), Partitions: []manifest.Partition{}}
	if l.Table == diskimage.MSDOS {
		m.ID = fmt.Sprintf("%08x", l.Signature())
	}
	for _, p := range l.Partitions {
		part := manifest.Partition{Number: p.Number, Role: string(p.Role), Type: p.Type.String(), ID: p.PartUUID,
			Label: p.Label, Start: uint64(p.Start), Size: uint64(p.Size)}
		if l.Table == diskimage.MSDOS {
			part.Type = fmt.Sprintf("%02x", p.Code)
		}
		if p.LUKS != uuid.Nil {
			part.LUKS = p.LUKS.String()
		}
		if p.Role == diskimage.RoleRootVerity {
			part.RootHash = d.RootHash
		}
		if p.Filesystem.Type != "" {
			part.Filesystem = &manifest.Filesystem{Type: p.Filesystem.Type, ID: boot.UUID(p.Filesystem),
				Label: p.Filesystem.Label}
		}
		m.Partitions = append(m.Partitions, part)
	}
	return m
}
