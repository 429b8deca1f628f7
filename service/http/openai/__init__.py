"""OpenAI's images API over the one front: POST /v1/images/generations, and the models in OpenAI's form.

    schemas   the body, the answer and the events, as OpenAI's clients have them
    reading   from a body to a request of ours, and our faults under OpenAI's names
    pictures  finished images in the form and the words that were asked for
    images    the endpoint
    stream    the events
    models    GET /v1/models, and one of them

A prompt names a class; what else the API can say of a picture is taken, refused, or without effect, as `schemas` tells.
Knows HTTP and the front as the rooms beside it do; nothing else knows this one but the application.
"""
