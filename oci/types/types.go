// SPDX-License-Identifier: Apache-2.0

// Package types holds the values that package oci exchanges with its callers: snapshots of root file systems,
// and images in registries, in OCI image layouts and in other container stores. It is all that a caller needs
// to declare interfaces that *oci.Engine satisfies. It imports nothing that runs or stores anything, so that
// a package which only describes what it wants from an engine depends on neither go.podman.io nor build tags.
package types

import (
	"os"
	"time"

	"github.com/opencontainers/go-digest"
)

// Snapshot describes a root file system that is kept in the store.
type Snapshot struct {
	Name string
	// Labels are whatever was given to Container.Snapshot.
	Labels map[string]string
	// Size is the number of bytes that it takes beyond the snapshot that it was made from.
	Size int64
	// Created is when it was made; Used is when a container was last made from it.
	Created, Used time.Time
}

// PackedSnapshot is a snapshot as it comes from elsewhere: what it has beyond the one below it, as a layer of an image.
type PackedSnapshot struct {
	Name   string
	Labels map[string]string
	// File holds the layer: a tar archive, plain or compressed with gzip or zstd.
	File string
	// DiffID is the digest of the plain archive. Another one is refused.
	DiffID digest.Digest
}

// ImageCopy says which image is copied, and to where.
type ImageCopy struct {
	// Layout is a directory, an OCI image layout with one image.
	Layout string
	// Destination is in the words of containers-transports(5): "docker://…" for a registry,
	// "containers-storage:…" for the caller's own store, that of podman, "docker-archive:…" for a file.
	Destination string
	// File takes the place of the file that Destination names; nil if it names none. It must be empty.
	File *os.File
	// Environ is the caller's environment, which says where credentials and the caller's own store are.
	Environ []string
	// SkipTLSVerify talks to registries without certificates, and without TLS.
	SkipTLSVerify bool
}

// ImageSource says where an image comes from.
type ImageSource struct {
	// Name is in the words of containers-transports(5): "docker://…" for a registry, "oci:DIR:TAG" for a layout.
	Name string
	// Environ is the caller's environment, which says where credentials are.
	Environ []string
	// SkipTLSVerify talks to registries without certificates, and without TLS.
	SkipTLSVerify bool
}

// RemoteImage is what an image says of itself.
type RemoteImage struct {
	Labels map[string]string
	// Config is the digest of the configuration, which holds the labels; Annotations are those of the
	// manifest, if it is of a form that has some.
	Config      digest.Digest
	Annotations map[string]string
	// Layers begin with the lowest.
	Layers []RemoteLayer
}

// RemoteLayer is one layer of an image.
type RemoteLayer struct {
	MediaType string
	// Digest and Size are those of the layer in its packed form, DiffID is the digest of the tar archive in it.
	Digest digest.Digest
	Size   int64
	DiffID digest.Digest
}
