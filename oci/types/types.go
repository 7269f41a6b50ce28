// SPDX-License-Identifier: Apache-2.0

// Package types holds the values that package oci exchanges with its callers: snapshots of root
// file systems, and images in registries, in OCI image layouts and in other container stores. A
// caller needs nothing else to declare interfaces that *oci.Engine satisfies. The package imports
// nothing that runs or stores anything, so that a package which only describes what it needs from
// an engine depends neither on go.podman.io nor on build tags.
package types

import (
	"os"
	"time"

	"github.com/opencontainers/go-digest"
)

// Snapshot describes a root file system in the store.
type Snapshot struct {
	// ID identifies it in the store, in hexadecimal. A later snapshot of the same name has another one.
	ID   string
	Name string
	// Labels are those passed to Container.Snapshot.
	Labels map[string]string
	// Size is the number of bytes that the snapshot needs in addition to the one below it.
	Size int64
	// Created is when it was created; Used is when a container was last created from it.
	Created, Used time.Time
}

// PackedSnapshot is a snapshot to be imported: its difference from the one below it, as a layer of
// an image.
type PackedSnapshot struct {
	Name   string
	Labels map[string]string
	// File holds the layer: a tar archive, plain or compressed with gzip or zstd.
	File string
	// DiffID is the digest of the uncompressed archive. Import rejects an archive with another one.
	DiffID digest.Digest
}

// ImageCopy says which image to copy, and where to.
type ImageCopy struct {
	// Layout is the directory of an OCI image layout with one image.
	Layout string
	// Destination has the syntax of containers-transports(5): "docker://…" for a registry,
	// "containers-storage:…" for the caller's own store, as used by podman, "docker-archive:…" for
	// a file.
	Destination string
	// File is written instead of the file that Destination names; nil if Destination does not name
	// a file. It must be empty.
	File *os.File
	// Artifacts are manifests of the layout that refer to the image. A registry gets them after it; other destinations
	// cannot have any.
	Artifacts []Artifact
	// Environ is the caller's environment, which locates credentials and the caller's own store.
	Environ []string
	// SkipTLSVerify accepts registries with invalid certificates, and without TLS.
	SkipTLSVerify bool
	// Progress, if not nil, is called about twice a second with the bytes of layers that are copied, or at the
	// destination already.
	Progress func(bytes int64)
}

// Artifact is a manifest of an OCI image layout whose subject is an image.
type Artifact struct {
	Type   string // of the artifact, such as "application/spdx+json"
	Digest digest.Digest
	Size   int64
}

// ImageSource says where an image comes from.
type ImageSource struct {
	// Name has the syntax of containers-transports(5): "docker://…" for a registry, "oci:DIR:TAG"
	// for a layout.
	Name string
	// Environ is the caller's environment, which locates credentials.
	Environ []string
	// SkipTLSVerify accepts registries with invalid certificates, and without TLS.
	SkipTLSVerify bool
}

// RemoteImage describes an image.
type RemoteImage struct {
	Labels map[string]string
	// Config is the digest of the configuration, which holds the labels; Annotations are those of
	// the manifest, if its format supports them.
	Config      digest.Digest
	Annotations map[string]string
	// Layers lists the layers, the lowest first.
	Layers []RemoteLayer
}

// RemoteLayer is one layer of an image.
type RemoteLayer struct {
	MediaType string
	// Digest and Size describe the compressed layer; DiffID is the digest of the uncompressed tar
	// archive.
	Digest digest.Digest
	Size   int64
	DiffID digest.Digest
}
