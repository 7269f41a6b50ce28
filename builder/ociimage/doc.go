// SPDX-License-Identifier: Apache-2.0

// Package ociimage writes and reads container images as OCI image layouts: directories that hold the layers,
// the configuration and the manifest of an image as files which are called after their digests (OCI image
// specification 1.1, image-layout.md).
//
// A layer is a diskimage.Tree. Difference makes the layer that turns one tree into another, with whiteouts, so that
// images with a common beginning share it, in a registry as well as on disk:
//
//	layout, err := ociimage.Create(dir)
//	err = layout.AddLayer(ctx, base, "bootstrap", gzip)
//	err = layout.AddLayer(ctx, ociimage.Difference(base, whole), "packages", gzip)
//	digest, err := layout.Finish(image)
//
// OpenLayout, OpenArchive and OpenDockerArchive read an image without unpacking it: they give its layers, compared with
// their digests, for diskimage.NewLayerTree.
//
// A finished layout can be added to another one under a name (Add), or packed into a file (WriteArchive). Everything is
// determined by its input: the same trees, image and compression give the same digests.
//
// Not supported: writing images for several platforms under one name, signatures, layers that are encrypted
// or not to be distributed, opaque whiteouts (each name that is gone has its own, which says the same). To
// talk to registries is not the business of this package.
package ociimage
