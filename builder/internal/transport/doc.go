// SPDX-License-Identifier: Apache-2.0

// Package transport holds the words for where images are, as containers-transports(5) has them: what stands before the
// first colon, and how such a text is shown to people.
package transport
