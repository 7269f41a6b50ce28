// SPDX-License-Identifier: Apache-2.0

// Package manifest describes what a finished image holds and what it was made of: packages, files of no package, the
// disk, the steps of the build and its inputs. A Manifest is JSON of our own, with a schema version, and the source of
// bills of materials in the formats of CycloneDX and SPDX.
//
// Packages and files are read from the finished root file system, never from what a build remembers, so that a build
// whose steps all come from the cache has the same manifest as the first one.
//
// Not supported: packages of other systems than dpkg's; licences by their names, of which Debian's copyright files are
// only seldom a machine-readable list.
package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Schema is the version of the format that this program writes. It changes when a reader of the former one would
// misunderstand a manifest; new fields leave it alone.
const Schema = 1

// MediaType is the media type of a manifest.
const MediaType = "application/vnd.vmdebootstrap.manifest.v1+json"

// Manifest is the description of one build. Its JSON is documented in contrib/doc/manifest.md.
type Manifest struct {
	Schema int `json:"schema"`
	// Program is the program that built, with its version: "vmdebootstrap 1.8.0".
	Program string `json:"program"`
	// Created is the time that the image records.
	Created time.Time `json:"created"`
	System  System    `json:"system"`
	// Archives are the suites that packages and tools were chosen from.
	Archives []Archive `json:"archives"`
	// Inputs are the files of the user.
	Inputs []Input `json:"inputs"`
	// Plan is the steps in their order.
	Plan []Step `json:"plan"`
	// Disk is the disk image; nil if there is none.
	Disk     *Disk     `json:"disk,omitempty"`
	Packages []Package `json:"packages"`
	// Unowned are the files that no package owns, without directories and without dpkg's own database.
	Unowned []File `json:"unowned"`
}

// System is what was built.
type System struct {
	Vendor       string `json:"vendor"`            // "Debian"
	Version      string `json:"version,omitempty"` // "13"; empty for testing and sid
	Codename     string `json:"codename"`          // "trixie"
	Architecture string `json:"architecture"`      // Debian's name
}

// Archive is the state of a suite that a build has seen.
type Archive struct {
	// Use is what came from it: UseImage or UseTools.
	Use      string `json:"use"`
	Mirror   string `json:"mirror"` // without credentials
	Suite    string `json:"suite"`
	Codename string `json:"codename"`
	// Date is that of the Release file.
	Date time.Time `json:"date"`
	// InRelease is the SHA-256 digest of that file.
	InRelease string `json:"inrelease_sha256"`
}

// The values of Archive.Use.
const (
	UseImage = "image"
	UseTools = "tools"
)

// Input is a file or a directory of the user.
type Input struct {
	Option string `json:"option"` // "--customize"
	// Name is relative to the working directory if the file is in it.
	Name string `json:"name"`
	// SHA256 is the digest of a file, or one of all that is in a directory.
	SHA256 string `json:"sha256"`
}

// Step is one step of the plan. Data is what decides about its result; secrets are hidden in it.
type Step struct {
	Kind  string          `json:"kind"`
	Title string          `json:"title"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// Disk is the layout of a disk image.
type Disk struct {
	Table      string      `json:"table"`
	ID         string      `json:"id"` // the disk's GUID, or the signature of an msdos table
	Size       uint64      `json:"size"`
	SectorSize uint64      `json:"sector_size"`
	Loader     string      `json:"boot_loader"`
	Partitions []Partition `json:"partitions"`
}

// Partition is one partition and its file system. Start and Size are bytes.
type Partition struct {
	Number int    `json:"number"`
	Role   string `json:"role"`
	Type   string `json:"type"`
	ID     string `json:"id,omitempty"` // PARTUUID
	Label  string `json:"label,omitempty"`
	Start  uint64 `json:"start"`
	Size   uint64 `json:"size"`
	// LUKS is the UUID of the LUKS2 container that the file system is in.
	LUKS string `json:"luks,omitempty"`
	// RootHash is that of dm-verity, in the partition with the hash tree.
	RootHash   string      `json:"rootHash,omitempty"`
	Filesystem *Filesystem `json:"filesystem,omitempty"`
}

// Filesystem is what a partition holds.
type Filesystem struct {
	Type  string `json:"type"`
	ID    string `json:"id,omitempty"` // UUID, as blkid(8) prints it
	Label string `json:"label,omitempty"`
}

// Package is one installed package.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	Source       string `json:"source"`
	// SourceVersion is the version of the source package.
	SourceVersion string `json:"source_version"`
	Maintainer    string `json:"maintainer,omitempty"`
	Homepage      string `json:"homepage,omitempty"`
	// License is the file with licence and copyright; nil if the system does not have it.
	License *License `json:"license,omitempty"`
	// SHA256 is the digest of the .deb, empty if it came from an archive that only a hook knew.
	SHA256 string `json:"sha256,omitempty"`
	// Origin is where the .deb came from; nil if only a hook knew.
	Origin *Origin `json:"origin,omitempty"`
}

// License is the copyright file of a package in the system.
type License struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// Origin is the archive of a package, or the user's file.
type Origin struct {
	Suite string `json:"suite,omitempty"`
	URL   string `json:"url,omitempty"`  // without credentials
	File  string `json:"file,omitempty"` // of --custom-package
}

// File is a file that belongs to no package. Bytes of its name that are not UTF-8 are written as \xNN.
type File struct {
	Name string `json:"name"` // with a leading slash
	Type string `json:"type"` // file, link, character, block, pipe, socket
	Mode string `json:"mode"` // octal permissions: "0644"
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
	Size int64  `json:"size,omitempty"`
	// SHA256 is the digest of a file's content.
	SHA256 string `json:"sha256,omitempty"`
	// Target is what a link says.
	Target string `json:"target,omitempty"`
}

// Write writes the manifest as JSON.
func (m Manifest) Write(w io.Writer) error { return writeJSON(w, m) }

func writeJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(value)
}

// SchemaError says that a manifest is of another version than this program reads.
type SchemaError struct{ Got int }

func (e *SchemaError) Error() string {
	return fmt.Sprintf("it has schema %d, and this program reads schema %d", e.Got, Schema)
}

// Read reads a manifest. The error is a *SchemaError for one of another version.
func Read(r io.Reader) (Manifest, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	var version struct {
		Schema *int `json:"schema"`
	}
	var m Manifest
	switch err := json.Unmarshal(data, &version); {
	case err != nil:
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	case version.Schema == nil:
		return Manifest{}, errors.New("read manifest: it has no schema: it is something else, or damaged")
	case *version.Schema != Schema:
		return Manifest{}, fmt.Errorf("read manifest: %w", &SchemaError{*version.Schema})
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	if m.Program == "" || m.System.Codename == "" {
		return Manifest{}, errors.New("read manifest: it lacks program or system: it is something else, or damaged")
	}
	return m, nil
}
