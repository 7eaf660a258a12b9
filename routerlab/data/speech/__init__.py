"""SpeechAQA: questions about rendered speech, made as SynthAQA is. See `families` and `make`."""
