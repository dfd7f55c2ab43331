// Stand-in for `Worker` on pages opened from a disk, where browsers allow none: the script runs in a hidden frame.
// The search of the theme asks whether its parent window has an `IFrameWorker`.
"use strict";

if (location.protocol === "file:") {
  const runIn = (frame, url) =>
    new Promise((done, failed) => {
      const script = frame.document.createElement("script");
      script.src = url;
      script.onload = done;
      script.onerror = failed;
      frame.document.body.append(script);
    });

  class FrameWorker extends EventTarget {
    constructor(url) {
      super();
      this.element = document.createElement("iframe");
      this.element.hidden = true;
      document.body.append(this.element);
      const frame = (this.frame = this.element.contentWindow);
      frame.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      frame.importScripts = async (...urls) => {
        for (const one of urls) await runIn(frame, one);
      };
      this.ready = runIn(frame, url);
    }

    async postMessage(data) {
      await this.ready;
      this.frame.dispatchEvent(new MessageEvent("message", { data: structuredClone(data) }));
    }

    terminate() {
      this.element.remove();
    }
  }

  window.IFrameWorker = window.Worker = FrameWorker;
}
